"""Labels: what happened after an as-of date.

In: the population (``member_features``: member_id, as_of_date, level_now), ``member_days`` and ``member_levels``; order
lines with their category where the shop has products. Out: ``member_labels``, one row per member and as-of date. The
window is ``(as_of + gap, as_of + gap + horizon]``; callers make sure it is complete (``LabelWindow.require_mature``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import Column, DataFrame, GroupedData
from pyspark.sql import functions as F

from memberlevel_spark.features.tiles import is_tiled
from memberlevel_spark.levels.points import with_categories
from memberlevel_spark.levels.replay import levels_on
from memberlevel_spark.schemas import MEMBER_LABELS
from memberlevel_spark.timeline import LabelWindow

KEY = ("member_id", "as_of_date")
# Labels that are known together, on ``known_from_date``.
OUTCOMES = (
    "target_level",
    "moved_up",
    "moved_down",
    "churned",
    "bought",
    "num_orders",
    "spend_cents",
    "first_category",
)


@dataclass(frozen=True)
class LabelWindows:
    """Days of the label, the longer ones in which a member becomes inactive, and the last complete day of the data."""

    label: LabelWindow
    inactive: LabelWindow
    data_through: date


def build_labels(
    population: DataFrame,
    member_days: DataFrame,
    member_levels: DataFrame,
    *,
    dates: Sequence[date],
    windows: LabelWindows,
    order_lines: DataFrame | None = None,
) -> DataFrame:
    """Level on the label date, moves, orders, net spend, first category; a silent member has zeros, not nulls.

    ``first_category`` is that of the first order line in the window; null without one, or where it has none, and for
    everybody without ``order_lines`` (``build_order_lines``). ``became_inactive``: not one event in the longer window;
    null as long as that one is not complete, whatever the days so far say.
    """
    asked = population.where(F.col("as_of_date").isin(list(dates))).select("member_id", "as_of_date", "level_now")
    dated = asked.withColumn("known_from_date", F.date_add("as_of_date", windows.label.reach_days))
    outcome = levels_on(member_levels, dated, "known_from_date").withColumnRenamed("level", "target_level")
    outcome = outcome.join(build_window_sums(member_days, dates, windows.label), [*KEY], "left")
    outcome = outcome.join(_active(member_days, dates, windows.inactive), [*KEY], "left")
    if order_lines is None:
        outcome = outcome.withColumn("first_category", F.lit(None).cast("string"))
    else:
        outcome = outcome.join(_first_categories(order_lines, dates, windows.label), [*KEY], "left")
    num_orders = F.coalesce("num_orders", F.lit(0))
    inactive_from = F.date_add("as_of_date", windows.inactive.reach_days)
    is_mature = inactive_from <= F.lit(windows.data_through)
    made = {
        "moved_up": F.col("target_level") > F.col("level_now"),
        "moved_down": F.col("target_level") < F.col("level_now"),
        "churned": num_orders == 0,
        "bought": num_orders > 0,
        "num_orders": num_orders,
        "spend_cents": F.coalesce("spend_cents", F.lit(0)),
        "became_inactive": F.when(is_mature, F.col("is_active").isNull()),
        "inactive_known_from_date": inactive_from,
    }
    return outcome.withColumns(made).select(*MEMBER_LABELS.schema.names)


def build_order_lines(events: DataFrame, products: DataFrame) -> DataFrame:
    """The order lines that count, with the ``category`` of their product as it was listed on their day."""
    lines = events.where(is_tiled() & (F.col("event_type") == "order"))
    return with_categories(lines, products).select("member_id", "day", "event_ts", "event_id", "category")


def labels_as_features(labels: DataFrame, dates: Sequence[date]) -> DataFrame:
    """What the last label was that is known on each as-of date: one row per member and date on which there is one.

    A label of an earlier as-of date is known only when its own window is over: ``known_from_date`` on or before the
    date. ``label_of_date`` is that earlier as-of date; ``last_became_inactive`` is of the latest one whose longer
    window is over, null where there is none.
    """
    known = F.filter(_array(dates), lambda day: day >= F.col("known_from_date"))
    rows = labels.withColumnRenamed("as_of_date", "of_date").withColumn("as_of_date", F.explode(known))
    inactive_known = (F.col("inactive_known_from_date") <= F.col("as_of_date")) & F.col("became_inactive").isNotNull()
    latest = rows.groupBy(*KEY).agg(
        F.max_by(F.struct("of_date", *OUTCOMES), "of_date").alias("last"),
        F.max_by("became_inactive", F.when(inactive_known, F.col("of_date"))).alias("last_became_inactive"),
    )
    named = [F.col(f"last.{name}").alias(f"last_{name}") for name in OUTCOMES]
    return latest.select(*KEY, F.col("last.of_date").alias("label_of_date"), *named, "last_became_inactive")


def build_window_sums(member_days: DataFrame, dates: Sequence[date], window: LabelWindow) -> DataFrame:
    """Orders and net spend by member and as-of date, in the window of each; a silent member has no row."""
    return _in_window(member_days, dates, window).agg(
        F.sum("num_orders").alias("num_orders"), F.sum("spend_cents").alias("spend_cents")
    )


def _active(member_days: DataFrame, dates: Sequence[date], inactive: LabelWindow) -> DataFrame:
    """The members and as-of dates with any tile in the window."""
    return _in_window(member_days, dates, inactive).agg(F.lit(True).alias("is_active"))


def _first_categories(order_lines: DataFrame, dates: Sequence[date], label: LabelWindow) -> DataFrame:
    first = F.min_by("category", F.struct("event_ts", "event_id"))
    return _in_window(order_lines, dates, label).agg(first.alias("first_category"))


def _in_window(rows: DataFrame, dates: Sequence[date], window: LabelWindow) -> GroupedData:
    """Rows with a ``day``, each at every as-of date whose window holds it, grouped by member and as-of date."""
    after = F.date_sub("day", window.reach_days)  # as_of >= day - gap - horizon
    before = F.date_sub("day", window.gap_days)  # as_of < day - gap
    matters = F.filter(_array(dates), lambda as_of: (as_of >= after) & (as_of < before))
    return rows.select("*", F.explode(matters).alias("as_of_date")).groupBy(*KEY)


def _array(dates: Sequence[date]) -> Column:
    return F.array(*[F.lit(day) for day in sorted(dates)])
