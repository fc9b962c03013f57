"""Numbers by their rank: a normal score instead of a standardised logarithm.

In: raw values. Out: Φ⁻¹ of the share of training rows that lies below, with half of those that are equal. The share is
linear between knots, the quantiles of the training rows; a value that several knots share lies half-way between them.
Beyond the knots is the bound. An input that never varied says nothing and is 0.

Shape legend: N values, Q knots.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.special import ndtr, ndtri

SHARES = np.linspace(0, 1, 33)

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


def normal_scores(raw_N: NDArray[np.float64], knots: Sequence[float], *, bound: float) -> NDArray[np.float64]:
    """The scores of raw values, between -bound and bound; they never fall where values rise."""
    knots_Q = np.asarray(knots)
    if knots_Q[0] == knots_Q[-1]:
        return np.zeros(len(raw_N))
    # A value that is several knots is the last of them when it is looked for from below, the first from above.
    last_N = np.interp(raw_N, knots_Q, SHARES)
    first_N = np.interp(-raw_N, -knots_Q[::-1], SHARES[::-1])
    scores_N: NDArray[np.float64] = np.clip(ndtri((first_N + last_N) / 2), -bound, bound)
    return scores_N


def of_normal_scores(scores_N: NDArray[np.float64], knots: Sequence[float], *, bound: float) -> NDArray[np.float64]:
    """The raw values that have these scores; of all that lie on or beyond the bound the nearest, a knot."""
    inside_N = np.where(scores_N > 0, 1.0, 0.0)
    shares_N = np.where(np.abs(scores_N) < bound, ndtr(scores_N), inside_N)
    return np.interp(shares_N, SHARES, np.asarray(knots))
