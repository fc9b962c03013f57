"""Scores: coherent columns from forecasts.

In: rows with level_now, ``features_hash``, ``p_level``, the predictor's numbers and, where the next category is told,
``p_category``. Out: ``member_scores``, one row per member, as-of date and model version.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.forecast_schemas import MEMBER_SCORES, NEXT_CATEGORIES
from memberlevel_spark.scoring.predictor import NUMBERS, P_CATEGORY

NUM_NEXT_CATEGORIES = 3


def build_scores(predicted: DataFrame, model_version: str, categories: Sequence[str] = ()) -> DataFrame:
    """p_up is the mass above the level held now, p_down the mass below; level_predicted is the likeliest level.

    ``categories`` are the names of ``p_category``; without them ``next_categories`` is null.
    """
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
        _next_categories(categories).alias("next_categories"),
        "features_hash",
    ).select(*MEMBER_SCORES.schema.names)


def _next_categories(categories: Sequence[str]) -> Column:
    """The likeliest ones, each with P(an order, and its first line of this category); of equal ones the one that is
    more frequent in the shop comes first."""
    if not categories:
        return F.lit(None).cast(NEXT_CATEGORIES)
    names = F.array(*map(F.lit, categories))
    by_rank = F.array_sort(F.transform(P_CATEGORY, lambda p, place: F.struct((-p).alias("below"), place.alias("at"))))
    best = F.slice(by_rank, 1, NUM_NEXT_CATEGORIES)
    return F.transform(
        best,
        lambda one: F.struct(F.get(names, one["at"]).alias("category"), (-one["below"] * F.col("p_buy")).alias("p")),
    )


def score_values(forecast: Sequence[float], level_now: int, categories: Sequence[str] = ()) -> dict[str, Any]:
    """What ``build_scores`` makes of one row of ``predict``, to the bit: the columns after the key.

    ``features_hash`` is not among them.
    """
    known = len(forecast) - len(categories)
    p_level, p_category = list(forecast[: known - len(NUMBERS)]), forecast[known:]
    numbers = dict(zip(NUMBERS, forecast[known - len(NUMBERS) : known], strict=True))
    ranked = sorted(zip(categories, p_category, strict=True), key=lambda one: -one[1])
    next_categories = [{"category": name, "p": p * numbers["p_buy"]} for name, p in ranked[:NUM_NEXT_CATEGORIES]]
    return {
        "level_now": level_now,
        "level_predicted": p_level.index(max(p_level)),
        "p_level": p_level,
        "p_up": min(_added_up(p_level[level_now + 1 :]), 1.0),
        "p_down": min(_added_up(p_level[:level_now]), 1.0),
        "expected_level": _added_up([p * k for k, p in enumerate(p_level)]),
        "p_churn": 1 - numbers["p_buy"],
        **numbers,
        "next_categories": next_categories or None,
    }


def _added_up(numbers: Sequence[float]) -> float:
    """One after the other, as Spark adds: Python's own sum is more exact from 3.12 on."""
    return reduce(add, numbers, 0.0)


def _mass(p_level: Column, wanted) -> Column:  # type: ignore[no-untyped-def]
    kept = F.transform(p_level, lambda p, k: F.when(wanted(k), p).otherwise(F.lit(0.0)))
    # Rounding in the sum of several shares may end a hair above 1.
    return F.least(F.aggregate(kept, F.lit(0.0), lambda total, p: total + p), F.lit(1.0))
