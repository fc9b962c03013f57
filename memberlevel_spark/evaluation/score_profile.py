"""What scores look like as a whole: those of the test date are kept with the model, monitoring compares later ones.

In: a forecast of the test members, or rows of ``member_scores``. Out: a ``Profile`` of the former, rows to count of the
latter.

Shape legend: N members, K levels, S numbers of a score.
"""

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.forecasts import Forecast
from memberlevel_spark.evaluation.inputs import IntArray
from memberlevel_spark.examples.profile import NUM_BINS, Numbers, Profile

SCORE_PROFILE = "score_profile.json"
SCORE_NUMBERS = Numbers(
    {
        "p_up": "chance",
        "p_down": "chance",
        "p_churn": "chance",
        "expected_orders": "number",
        "expected_spend_cents": "amount",
    }
)


def score_profile(forecast: Forecast, level_now_N: IntArray) -> Profile:
    """The profile of what a model says of members; spend in minor units, as the ledger has it."""
    p_level_NK, p_churn_N = forecast.p_level_NK, forecast.p_churn_N
    orders_N, spend_N = forecast.orders_N, forecast.spend_N
    assert p_level_NK is not None and p_churn_N is not None and orders_N is not None and spend_N is not None
    level_K = np.arange(p_level_NK.shape[1])
    p_up_N, p_down_N = (
        np.where(moved_NK, p_level_NK, 0.0).sum(axis=1)
        for moved_NK in (level_K > level_now_N[:, None], level_K < level_now_N[:, None])
    )
    values_NS = np.stack([p_up_N, p_down_N, p_churn_N, orders_N, spend_N], axis=1).astype(np.float64)
    bins_SB = SCORE_NUMBERS.bins_of(values_NS)
    counts = {
        (place, number): int(bins_SB[place, number]) for place in range(len(bins_SB)) for number in range(NUM_BINS)
    }
    return SCORE_NUMBERS.profile(counts)


def score_rows(scores: DataFrame) -> DataFrame:
    """part (the as-of date as text), values and no flags of rows of ``member_scores``."""
    values = F.array(*[F.col(name).cast("double") for name in SCORE_NUMBERS.scales])
    no_flags = F.array().cast("array<boolean>")
    return scores.select(
        F.col("as_of_date").cast("string").alias("part"), values.alias("values"), no_flags.alias("flags")
    )
