"""Moves between levels: how many members are expected to make each one and, once it is known, how many did.

In: ``member_scores``, for ``build_moves`` beside what happened. Out: rows of ``monitor_metrics`` (metric, slice,
as_of_date, model_version, value), whose slices are levels (``2``) or moves (``1->2``); rows of ``migrations``, one per
as-of date, model version, level now and level then.
"""

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.forecast_schemas import MIGRATIONS

RUN = ["as_of_date", "model_version"]
# Sums of rounded decimals do not depend on the order of the partitions.
EXACT = "decimal(18,9)"


def build_migration(scores: DataFrame) -> DataFrame:
    """Members per level now, and expected members per move: sums of probabilities, to the millionth of a member."""
    exact = scores.select(*RUN, "level_now", F.transform("p_level", lambda p: p.cast(EXACT)).alias("p_level"))
    moves = exact.select(*RUN, "level_now", F.posexplode("p_level").alias("level_then", "p"))
    move = F.concat_ws("->", "level_now", "level_then")
    expected = moves.groupBy(*RUN, move.alias("slice")).agg(F.sum("p").cast("double").alias("value"))
    now = scores.groupBy(*RUN, F.col("level_now").cast("string").alias("slice")).agg(
        F.count("*").cast("double").alias("value")
    )
    parts = [_named("members_expected", expected), _named("members_now", now)]
    return reduce(DataFrame.unionByName, parts)


def build_moves(matured: DataFrame, num_levels: int) -> DataFrame:
    """Expected and realised members of every move, and the money in it; zeros where nobody makes one.

    In: scores with ``target_level``, the net ``spend_cents`` of the label's window and ``spend_cents_before``, that of
    as many days up to the as-of date. Out: ``members_expected`` is the sum of P(level = ``level_to``),
    ``spend_cents`` what those who made the move spent in the label's window, ``at_risk_cents`` what those who fell had
    spent before; 0 for a move that is no fall.
    """
    said = matured.select("*", F.posexplode("p_level").alias("level_to", "p"))
    is_made = F.col("level_to") == F.col("target_level")
    is_fall = is_made & (F.col("level_to") < F.col("level_now"))
    each = said.select(
        *RUN,
        F.col("level_now").alias("level_from"),
        "level_to",
        F.col("p").cast(EXACT).alias("members_expected"),
        is_made.cast("bigint").alias("members_realised"),
        F.when(is_made, F.col("spend_cents")).otherwise(F.lit(0)).alias("spend_cents"),
        F.when(is_fall, F.col("spend_cents_before")).otherwise(F.lit(0)).alias("at_risk_cents"),
    )
    sums = ("members_expected", "members_realised", "spend_cents", "at_risk_cents")
    moves = each.unionByName(_nobodys(matured, each, num_levels)).groupBy(*RUN, "level_from", "level_to")
    added = moves.agg(*[F.sum(name).alias(name) for name in sums])
    return added.withColumn("members_expected", F.col("members_expected").cast("double")).select(
        *MIGRATIONS.schema.names
    )


def _nobodys(matured: DataFrame, each: DataFrame, num_levels: int) -> DataFrame:
    """A row of zeros for every move of every run, in the columns of ``each``."""
    levels = F.array(*[F.lit(level) for level in range(num_levels)])
    runs = matured.select(*RUN).distinct().withColumn("level_from", F.explode(levels))
    moves = runs.withColumn("level_to", F.explode(levels))
    added = [field for field in each.schema if field.name not in moves.columns]
    return moves.select(*moves.columns, *[F.lit(0).cast(field.dataType).alias(field.name) for field in added])


def _named(metric: str, rows: DataFrame) -> DataFrame:
    return rows.select(F.lit(metric).alias("metric"), "slice", *RUN, "value")
