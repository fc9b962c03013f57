"""Named feature and sequence columns.

In: the kernel's rows (``windows.py``) and ``member_levels``. Out: ``member_features`` and ``member_sequences``, one row
per member and as-of date. days_since_* are null for a member without an order; nothing else is ever null.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.features.declare import WindowFeature
from memberlevel_spark.levels.replay import levels_on
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import INT, LONG, optional, required


def feature_fields(declared: Sequence[WindowFeature], rules: LevelRules) -> list[T.StructField]:
    """The columns of ``member_features`` after its key, in order."""
    higher = range(1, rules.num_levels)
    return [
        *[required(feature.name, LONG) for feature in declared],
        *[optional(name, INT) for name in ("days_since_last_order", "days_since_first_order")],
        *[required(name, INT) for name in ("tenure_days", "level_now")],
        *[required(name, LONG) for name in ("level_metric_now", "level_metric_carry_over")],
        *[required(f"to_level_{level}_now", LONG) for level in higher],
        *[required(f"to_level_{level}_carry_over", LONG) for level in higher],
    ]


def build_member_features(
    windows: DataFrame, member_levels: DataFrame, declared: Sequence[WindowFeature], rules: LevelRules
) -> DataFrame:
    """Name the kernel's values by the declarations and add level, tenure and the distance to each higher level."""
    dated = windows.withColumn("as_of_date", F.date_from_unix_date("as_of_day"))
    levelled = levels_on(member_levels, dated, "as_of_date")
    last, first = F.col("values")[len(declared)], F.col("values")[len(declared) + 1]
    columns: list[Column] = [
        F.col("member_id"),
        F.col("as_of_date"),
        *[F.col("values")[index].alias(feature.name) for index, feature in enumerate(declared)],
        _days(last).alias("days_since_last_order"),
        _days(first).alias("days_since_first_order"),
        (F.col("as_of_day") - F.col("known_day")).alias("tenure_days"),
        F.col("level").alias("level_now"),
        F.col("metric_now").alias("level_metric_now"),
        F.col("metric_carry_over").alias("level_metric_carry_over"),
        *_distances(F.col("metric_now"), rules, "now"),
        *_distances(F.col("metric_carry_over"), rules, "carry_over"),
    ]
    return levelled.select(*columns)


def build_member_sequences(windows: DataFrame, measures: Sequence[str], num_weeks: int) -> DataFrame:
    """Weekly sums per measure as arrays of ``num_weeks``, newest week first; a week without events is 0."""
    columns = [
        F.slice("weekly", 1 + index * num_weeks, num_weeks).alias(f"weekly_{measure}")
        for index, measure in enumerate(measures)
    ]
    return windows.select("member_id", F.date_from_unix_date("as_of_day").alias("as_of_date"), *columns)


def _days(value: Column) -> Column:
    return F.when(value >= 0, value).cast("int")


def _distances(metric: Column, rules: LevelRules, when: str) -> list[Column]:
    return [
        F.greatest(F.lit(rules.thresholds[level]) - metric, F.lit(0)).cast("bigint").alias(f"to_level_{level}_{when}")
        for level in range(1, rules.num_levels)
    ]
