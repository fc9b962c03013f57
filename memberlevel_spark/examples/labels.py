"""Labels: what happened after an as-of date.

In: the population (``member_features``: member_id, as_of_date, level_now), ``member_days`` and ``member_levels``. Out:
``member_labels``, one row per member and as-of date. The window is ``(as_of + gap, as_of + gap + horizon]``; callers
make sure it is complete (``LabelWindow.require_mature``).
"""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.levels.replay import levels_on
from memberlevel_spark.schemas import MEMBER_LABELS
from memberlevel_spark.timeline import LabelWindow


def build_labels(
    population: DataFrame,
    member_days: DataFrame,
    member_levels: DataFrame,
    *,
    dates: Sequence[date],
    label: LabelWindow,
) -> DataFrame:
    """Level on the label date, moves, orders and net spend in the window; a silent member has zeros, not nulls."""
    asked = population.where(F.col("as_of_date").isin(list(dates))).select("member_id", "as_of_date", "level_now")
    dated = asked.withColumn("known_from_date", F.date_add("as_of_date", label.reach_days))
    levelled = levels_on(member_levels, dated, "known_from_date").withColumnRenamed("level", "target_level")
    outcome = levelled.join(_sums(member_days, dates, label), ["member_id", "as_of_date"], "left")
    num_orders = F.coalesce("num_orders", F.lit(0))
    return outcome.select(
        "member_id",
        "as_of_date",
        "known_from_date",
        "level_now",
        "target_level",
        (F.col("target_level") > F.col("level_now")).alias("moved_up"),
        (F.col("target_level") < F.col("level_now")).alias("moved_down"),
        (num_orders == 0).alias("churned"),
        (num_orders > 0).alias("bought"),
        num_orders.alias("num_orders"),
        F.coalesce("spend_cents", F.lit(0)).alias("spend_cents"),
    ).select(*MEMBER_LABELS.schema.names)


def _sums(member_days: DataFrame, dates: Sequence[date], label: LabelWindow) -> DataFrame:
    """Orders and spend by member and as-of date: each tile goes to the as-of dates whose window holds its day."""
    all_dates = F.array(*[F.lit(day) for day in sorted(dates)])
    after = F.date_sub("day", label.reach_days)  # as_of >= day - gap - horizon
    before = F.date_sub("day", label.gap_days)  # as_of < day - gap
    tiles = member_days.select(
        "member_id", "num_orders", "spend_cents", after.alias("after"), before.alias("before"), all_dates.alias("dates")
    )
    matters = F.filter("dates", lambda as_of: (as_of >= F.col("after")) & (as_of < F.col("before")))
    exploded = tiles.select("member_id", F.explode(matters).alias("as_of_date"), "num_orders", "spend_cents")
    return exploded.groupBy("member_id", "as_of_date").agg(
        F.sum("num_orders").alias("num_orders"), F.sum("spend_cents").alias("spend_cents")
    )
