"""Numbers by their rank: a normal score instead of a standardised logarithm.

In: raw values. Out: at a knot, a quantile of the training rows, Φ⁻¹ of the share of these rows that lies below, with
half of those that are equal: where several knots are one value, their middle. Between two knots the score is linear in
the signed logarithm, beyond the outermost it stays as there: amounts may be a thousand times the last knot but one, and
as time passes some numbers leave what training knew. An input that never varied says nothing and is 0.

Shape legend: N values, U different knots of an input.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.special import ndtri

from memberlevel_spark.examples.signed_log import signed_exp, signed_log

SHARES = np.linspace(0, 1, 33)
# Of the training rows beyond the outermost knots: Φ⁻¹ is ±3.7 there.
SMALLEST_SHARE = 1e-4

Knots = tuple[float, ...]


def fit_knots(raw: DataFrame, num_inputs: int) -> tuple[Knots, ...]:
    """The quantiles at ``SHARES`` of each element of the array ``raw``, none of them null; nothing without rows.

    They are exact, linear between neighbours, and so do not depend on partitions; all are found in one pass, which
    keeps every different value of an input with its count.
    """
    shares = SHARES.tolist()
    found = raw.agg(*[F.percentile(F.col("raw")[place], shares).alias(f"_{place}") for place in range(num_inputs)])
    row = found.first()
    if row is None or any(knots is None for knots in row):
        return ()
    return tuple(tuple(knots) for knots in row)


def normal_scores(raw_N: NDArray[np.float64], knots: Knots) -> NDArray[np.float64]:
    """The scores of raw values; they never fall where values rise."""
    logs_U, scores_U = _scale(knots)
    return np.interp(signed_log(raw_N), logs_U, scores_U)


def of_normal_scores(scores_N: NDArray[np.float64], knots: Knots) -> NDArray[np.float64]:
    """The raw values that have these scores; of all that lie beyond a knot at the end that knot."""
    logs_U, scores_U = _scale(knots)
    return signed_exp(np.interp(scores_N, scores_U, logs_U))


@lru_cache(maxsize=4096)
def _scale(knots: Knots) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each different knot its signed logarithm and its score, both ascending [U].

    Scores are single precision, as encoded features are: a knot is then read back as itself.
    """
    values_U, first_U, count_U = np.unique(knots, return_index=True, return_counts=True)
    shares_U = (SHARES[first_U] + SHARES[first_U + count_U - 1]) / 2
    scores_U = ndtri(np.clip(shares_U, SMALLEST_SHARE, 1 - SMALLEST_SHARE))
    return signed_log(values_U), scores_U.astype(np.float32).astype(np.float64)
