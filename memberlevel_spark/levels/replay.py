"""Replay of the level rules.

In: ``members`` and ``member_days``. Out: ``member_levels``, one row per member and stretch of days
``[valid_from, valid_to)`` with one level; the last stretch is open (valid_to null). ``metric_value`` is the metric on
valid_from.
"""

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEMBER_LEVELS


def build_member_levels(members: DataFrame, member_days: DataFrame, rules: LevelRules, *, through: date) -> DataFrame:
    """Levels of every member from the day the shop knew them; changes after ``through`` are not decided yet.

    The metric changes only when a tile enters the window (its day) and when it leaves (its day + window), so the
    running sum over these changes is the metric on every day.
    """
    enters = member_days.select("member_id", "day", F.col(rules.metric).alias("change"))
    leaves = enters.select(
        "member_id", F.date_add("day", rules.window_days).alias("day"), (-F.col("change")).alias("change")
    )
    known = members.groupBy("member_id").agg(F.min("valid_from").alias("day"))
    starts = known.select("member_id", "day", F.lit(0).cast("bigint").alias("change"))
    changes = starts.unionByName(enters).unionByName(leaves).where(F.col("day") <= F.lit(through))
    by_day = changes.groupBy("member_id", "day").agg(F.sum("change").alias("change"))
    in_order = W.Window.partitionBy("member_id").orderBy(F.col("day").asc_nulls_first())
    so_far = in_order.rowsBetween(W.Window.unboundedPreceding, W.Window.currentRow)
    metric = by_day.withColumn("metric_value", F.sum("change").over(so_far))
    levels = metric.withColumn("level", level_column(F.col("metric_value"), rules))
    previous = F.lag("level").over(in_order)
    decided = levels.withColumn("previous", previous)
    stretches = decided.where(F.col("previous").isNull() | (F.col("previous") != F.col("level")))
    return stretches.select(
        "member_id",
        F.col("day").alias("valid_from"),
        F.lead("day").over(in_order).alias("valid_to"),
        "level",
        "metric_value",
    ).select(*MEMBER_LEVELS.schema.names)


def level_column(metric: Column, rules: LevelRules) -> Column:
    """``LevelRules.level_of`` as a Spark expression."""
    held = [F.when(metric >= threshold, F.lit(level)) for level, threshold in enumerate(rules.thresholds)]
    return F.coalesce(*reversed(held), F.lit(0)).cast("int")


def levels_on(member_levels: DataFrame, dates: DataFrame, day: str) -> DataFrame:
    """The level each row's member held on its ``day``: joins ``level`` by member and day, inner."""
    stretch = member_levels.select("member_id", "valid_from", "valid_to", "level")
    held = (F.col(day) >= F.col("valid_from")) & (F.col("valid_to").isNull() | (F.col(day) < F.col("valid_to")))
    return dates.join(stretch, "member_id", "inner").where(held).drop("valid_from", "valid_to")
