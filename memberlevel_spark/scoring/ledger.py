"""Scores: coherent columns from forecasts.

In: rows with level_now, ``p_level`` and the predictor's numbers. Out: ``member_scores``, one row per member, as-of date
and model version.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.forecast_schemas import MEMBER_SCORES
from memberlevel_spark.scoring.predictor import NUMBERS


def build_scores(predicted: DataFrame, model_version: str) -> DataFrame:
    """p_up is the mass above the level held now, p_down the mass below; level_predicted is the likeliest level."""
    p_level, level_now = F.col("p_level"), F.col("level_now")
    expected = F.aggregate(
        F.transform(p_level, lambda p, k: p * k), F.lit(0.0), lambda total, weighted: total + weighted
    )
    return predicted.select(
        "member_id",
        "as_of_date",
        F.lit(model_version).alias("model_version"),
        "level_now",
        (F.array_position(p_level, F.array_max(p_level)) - 1).cast("int").alias("level_predicted"),
        "p_level",
        _mass(p_level, lambda k: k > level_now).alias("p_up"),
        _mass(p_level, lambda k: k < level_now).alias("p_down"),
        expected.alias("expected_level"),
        (1 - F.col("p_buy")).alias("p_churn"),
        *NUMBERS,
    ).select(*MEMBER_SCORES.schema.names)


def _mass(p_level: Column, wanted) -> Column:  # type: ignore[no-untyped-def]
    kept = F.transform(p_level, lambda p, k: F.when(wanted(k), p).otherwise(F.lit(0.0)))
    # Rounding in the sum of several shares may end a hair above 1.
    return F.least(F.aggregate(kept, F.lit(0.0), lambda total, p: total + p), F.lit(1.0))
