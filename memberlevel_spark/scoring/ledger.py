"""Scores: coherent columns from forecasts.

In: rows with level_now, ``p_level`` and the predictor's numbers. Out: ``member_scores``, one row per member, as-of date
and model version.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

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


def score_values(forecast: Sequence[float], level_now: int) -> dict[str, Any]:
    """What ``build_scores`` makes of one row of ``predict``, to the bit: the columns of the ledger after its key."""
    p_level, numbers = list(forecast[: -len(NUMBERS)]), dict(zip(NUMBERS, forecast[-len(NUMBERS) :], strict=True))
    return {
        "level_now": level_now,
        "level_predicted": p_level.index(max(p_level)),
        "p_level": p_level,
        "p_up": min(_added_up(p_level[level_now + 1 :]), 1.0),
        "p_down": min(_added_up(p_level[:level_now]), 1.0),
        "expected_level": _added_up([p * k for k, p in enumerate(p_level)]),
        "p_churn": 1 - numbers["p_buy"],
        **numbers,
    }


def _added_up(numbers: Sequence[float]) -> float:
    """One after the other, as Spark adds: Python's own sum is more exact from 3.12 on."""
    return reduce(add, numbers, 0.0)


def _mass(p_level: Column, wanted) -> Column:  # type: ignore[no-untyped-def]
    kept = F.transform(p_level, lambda p, k: F.when(wanted(k), p).otherwise(F.lit(0.0)))
    # Rounding in the sum of several shares may end a hair above 1.
    return F.least(F.aggregate(kept, F.lit(0.0), lambda total, p: total + p), F.lit(1.0))
