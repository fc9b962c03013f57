"""Drift of the encoded features: population stability index between training rows and scored rows.

In: rows with ``features`` (array<float>). Out: row counts per feature and bin; from two of them one PSI per feature.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.scoring.apply import feature_matrix

# Bin edges in standard deviations of the training rows; encoded features are standardised.
EDGES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
NUM_BINS = len(EDGES) + 1
# Share taken for an empty bin, so that a new value gives a large and finite index.
SMALLEST_SHARE = 1e-4

Counts = Mapping[int, Sequence[int]]


def count_bins(encoded: DataFrame) -> DataFrame:
    """Rows per feature position and bin: columns position, bin, rows."""
    of_tasks = encoded.select("features").mapInArrow(_count_bins, "position int, bin int, rows bigint")
    return of_tasks.groupBy("position", "bin").agg(F.sum("rows").alias("rows"))


def _count_bins(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In numpy: Spark would make a row of every single number."""
    for batch in batches:
        if not batch.num_rows:
            continue
        features_NF = feature_matrix(batch.column("features"))
        num_cells = NUM_BINS * features_NF.shape[1]
        cell_NF = np.searchsorted(EDGES, features_NF, side="right") + np.arange(0, num_cells, NUM_BINS)
        rows_C = np.bincount(cell_NF.ravel(), minlength=num_cells)
        met_C = np.nonzero(rows_C)[0]
        position_C, bin_C = (pa.array(indices, pa.int32()) for indices in np.divmod(met_C, NUM_BINS))
        columns = {"position": position_C, "bin": bin_C, "rows": pa.array(rows_C[met_C], pa.int64())}
        yield pa.record_batch(columns)


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
