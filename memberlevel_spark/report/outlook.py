"""What members are expected to do, from their scores; made in Spark.

In: ``member_scores`` of one as-of date and model. Out: a few plain values for the report.

Quantiles are Spark's approximate ones, exact for up to 10,000 members and within a ten-thousandth of the ranks beyond.
"""

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.report.model import QUANTITIES

SCORES = dict(zip(QUANTITIES, ("p_churn", "expected_orders", "expected_spend_cents"), strict=True))
NUM_BARS = 10
TENTHS = [share / 10 for share in range(1, 10)]
ACCURACY = 10_000


def outlook(scores: DataFrame) -> dict[str, list[Any]]:
    """``expected``, ``churn_counts`` and ``spend_ranges`` of ReportData; all empty without scores."""
    row = _totals(scores).collect()[0]
    if row["churn_total"] is None:
        return {"expected": [], "churn_counts": [], "spend_ranges": []}
    expected = [
        {"quantity": name, "total": row[f"{name}_total"]}
        | dict(zip(("low", "median", "high"), (row[f"{name}_tenths"][place] for place in (0, 4, 8)), strict=True))
        for name in SCORES
    ]
    bars = {found["bar"]: found["members"] for found in _bars(scores).collect()}
    tenths = _ranges(scores, row["spend_cents_tenths"]).collect()
    return {
        "expected": expected,
        "churn_counts": [bars.get(bar, 0) for bar in range(NUM_BARS)],
        "spend_ranges": [found.asDict() for found in tenths],
    }


def _totals(scores: DataFrame) -> DataFrame:
    """The sum and the nine tenths of every quantity: one row, of nulls when there are no scores."""
    totals = [F.sum(column).alias(f"{name}_total") for name, column in SCORES.items()]
    tenths = [F.percentile_approx(column, TENTHS, ACCURACY).alias(f"{name}_tenths") for name, column in SCORES.items()]
    return scores.agg(*totals, *tenths)


def _bars(scores: DataFrame) -> DataFrame:
    bar = F.least(F.floor(F.col("p_churn") * NUM_BARS), F.lit(NUM_BARS - 1)).alias("bar")
    return scores.groupBy(bar).agg(F.count("*").alias("members"))


def _ranges(scores: DataFrame, edges: Sequence[float]) -> DataFrame:
    """Means per member of each tenth, lowest first; members on an edge belong to the tenth below it."""
    means = [
        F.avg(column).alias(name)
        for name, column in {
            "expected_cents": "expected_spend_cents",
            "low_cents": "spend_cents_low",
            "high_cents": "spend_cents_high",
        }.items()
    ]
    grouped = scores.groupBy(_above(edges).alias("tenth")).agg(F.count("*").alias("members"), *means)
    return grouped.orderBy("tenth").drop("tenth")


def _above(edges: Sequence[float]) -> Column:
    """How many of the edges the expected spend is above."""
    return sum(((F.col("expected_spend_cents") > edge).cast("int") for edge in edges), F.lit(0))
