"""Drift of the encoded features: population stability index between training rows and scored rows.

In: rows with ``features`` (array<float>). Out: row counts per feature and bin; from two of them one PSI per feature.
"""

import math
from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

# Bin edges in standard deviations of the training rows; encoded features are standardised.
EDGES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
NUM_BINS = len(EDGES) + 1
# Share taken for an empty bin, so that a new value gives a large and finite index.
SMALLEST_SHARE = 1e-4

Counts = Mapping[int, Sequence[int]]


def count_bins(encoded: DataFrame) -> DataFrame:
    """Rows per feature position and bin: columns position, bin, rows."""
    bins = F.transform("features", _bin)
    exploded = encoded.select(F.posexplode(bins).alias("position", "bin"))
    return exploded.groupBy("position", "bin").agg(F.count("*").alias("rows"))


def _bin(value: Column) -> Column:
    return reduce(Column.__add__, [(value >= F.lit(edge)).cast("int") for edge in EDGES])


def psi(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Population stability index: sum over bins of (a - e) ln(a / e), a and e the shares; 0 when they are equal.

    Below 0.1 is commonly read as stable, above 0.2 as shifted (Siddiqi 2006, "Credit Risk Scorecards").
    """
    shares = [[max(n / max(sum(counts), 1), SMALLEST_SHARE) for n in counts] for counts in (expected, actual)]
    return sum((a - e) * math.log(a / e) for e, a in zip(*shares, strict=True))


def drift_by_feature(expected: Counts, actual: Counts, names: Sequence[str]) -> dict[str, float]:
    """One PSI per feature name, in the order of the encoded array."""
    none = [0] * NUM_BINS
    return {name: psi(expected.get(i, none), actual.get(i, none)) for i, name in enumerate(names)}
