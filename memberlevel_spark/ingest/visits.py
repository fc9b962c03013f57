"""What a visitor does in a day: sessions cut by inactivity, and flags for days no person has.

A session ends after a silence, and at midnight of the shop's zone: a day can then be rebuilt on its own. A cut
session's id is ``cut-`` and the instant it began, unique within the visitor.
"""

from collections.abc import Sequence

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from memberlevel_spark.config.ingest import RuleConfig
from memberlevel_spark.errors import ConfigError

BROWSING = ("view", "search", "cart_add", "cart_remove", "checkout", "session_start")
CUT = "cut-"
# What rules on `member_day` may speak of, besides the visitor's own columns.
DAY_MEASURES = ("num_events", "num_order_lines", "num_views", "num_cart_adds", "spend_cents", "active_minutes")


def with_visits(rows: DataFrame, *, gap_minutes: int | None, rules: Sequence[RuleConfig]) -> DataFrame:
    """``rows`` with ``session_id`` of browsing events that have none, and ``flag`` for days that break a rule.

    ``gap_minutes`` None cuts no sessions. Sorted by month, visitor, day and time, all rows of a visitor's day together.
    """
    # A column of its own: windows over an expression would each shuffle and sort the rows again.
    rows = rows.withColumn("visitor", F.coalesce("member_id", "device_id"))
    of_day = W.Window.partitionBy("month", "visitor", "day")
    in_order = of_day.orderBy(F.col("event_ts").asc(), F.col("event_id").asc())
    if gap_minutes is not None:
        rows = _with_sessions(rows, in_order, gap_minutes)
    if not rules:
        return rows.drop("visitor")
    whole = in_order.rowsBetween(W.Window.unboundedPreceding, W.Window.unboundedFollowing)
    measured = rows.withColumns(_day_measures(whole))
    try:
        broken = F.coalesce(*[F.when(~F.coalesce(F.expr(rule.expression), F.lit(False)), rule.name) for rule in rules])
        flagged = measured.withColumn("flag", F.coalesce("flag", broken))
        return flagged.drop("visitor", *DAY_MEASURES)
    except AnalysisException as problem:
        raise ConfigError(
            f"a rule on member_day cannot be read: {', '.join(rule.name for rule in rules)} ({problem.getCondition()})."
            f" It may speak of {', '.join(DAY_MEASURES)}."
        ) from None


def _with_sessions(rows: DataFrame, in_order: W.WindowSpec, gap_minutes: int) -> DataFrame:
    needs_session = F.col("event_type").isin(*BROWSING) & F.col("session_id").isNull()
    moment = F.when(needs_session, F.unix_seconds("event_ts"))
    so_far = in_order.rowsBetween(W.Window.unboundedPreceding, W.Window.currentRow)
    earlier = in_order.rowsBetween(W.Window.unboundedPreceding, -1)
    last_seen = F.last(moment, ignorenulls=True).over(earlier)
    begins = needs_session & (last_seen.isNull() | (moment - last_seen > gap_minutes * 60))
    began = rows.withColumn("session_began", F.when(begins, F.col("event_ts")))
    start = F.max("session_began").over(so_far)
    session = F.concat(F.lit(CUT), F.date_format(start, "yyyyMMdd'T'HHmmss"))
    return began.withColumn("session_id", F.coalesce("session_id", F.when(needs_session, session))).drop(
        "session_began"
    )


def _day_measures(whole: W.WindowSpec) -> dict[str, Column]:
    def number_of(event_type: str) -> Column:
        return F.count_if(F.col("event_type") == event_type).over(whole)

    second = F.unix_seconds("event_ts")
    return {
        "num_events": F.count("*").over(whole),
        "num_order_lines": number_of("order"),
        "num_views": number_of("view"),
        "num_cart_adds": number_of("cart_add"),
        "spend_cents": F.sum("net_cents").over(whole),
        "active_minutes": (F.max(second).over(whole) - F.min(second).over(whole)) / 60,
    }
