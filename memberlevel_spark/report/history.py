"""Small tables the report draws, made in Spark.

In: ``member_days``, ``member_levels``, ``member_scores`` with features. Out: frames of a few rows, ready to collect.
"""

import re
from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def weekly_spend(member_days: DataFrame, weeks: Sequence[date]) -> DataFrame:
    """Spend of all members per week that ends on each date: columns week, spend_cents; a silent week has no row."""
    ends = F.array(*[F.lit(day) for day in weeks])
    week = F.filter(ends, lambda end: (F.col("day") <= end) & (F.col("day") > F.date_sub(end, 7)))
    dated = member_days.select(F.explode(week).alias("week"), "spend_cents")
    return dated.groupBy("week").agg(F.sum("spend_cents").alias("spend_cents")).orderBy("week")


def weekly_levels(member_levels: DataFrame, weeks: Sequence[date]) -> DataFrame:
    """Members per level on each date: columns week, level, members."""
    ends = F.array(*[F.lit(day) for day in weeks])
    held = F.filter(ends, lambda end: (F.col("valid_from") <= end) & _still(end))
    return (
        member_levels.select(F.explode(held).alias("week"), "level")
        .groupBy("week", "level")
        .agg(F.count("*").alias("members"))
    )


def _still(day: Column) -> Column:
    return F.col("valid_to").isNull() | (F.col("valid_to") > day)


def movers(scores: DataFrame, features: DataFrame, *, probability: str, limit: int, metric: str) -> DataFrame:
    """The members with the largest ``p_up`` or ``p_down``, with what a level metric is and what is carried over."""
    to_levels = _to_levels(features, metric)
    measured = {"level_metric_now": f"level_{metric}_now", "level_metric_carry_over": f"level_{metric}_carry_over"}
    columns = [F.col(column).alias(name) for name, column in measured.items()]
    metrics = features.select("member_id", "as_of_date", *columns, F.array(*to_levels).alias("to_levels"))
    joined = scores.join(metrics, ["member_id", "as_of_date"], "inner")
    return (
        joined.where(F.col(probability) > 0)
        .select(
            "member_id",
            "level_now",
            F.col(probability).alias("p_move"),
            "expected_level",
            *measured,
            F.get("to_levels", F.col("level_now")).alias("to_next"),
        )
        .orderBy(F.col("p_move").desc_nulls_last(), F.col("member_id").asc_nulls_last())
        .limit(limit)
    )


def _to_levels(features: DataFrame, metric: str) -> list[Column]:
    """Distances to level 1, 2, ... by the label date, in order of the level; null where it needs no such metric."""
    pattern = re.compile(rf"to_level_(\d+)_{metric}_carry_over")
    found = {int(match[1]): F.col(name) for name in features.columns if (match := pattern.fullmatch(name))}
    return [found.get(level, F.lit(None)).cast("bigint") for level in range(1, max(found, default=1) + 1)]
