"""Principal components: a few directions in which the encoded features of the training rows differ most.

In: ``features`` of training rows. Out: for each component, the largest first, its weight of every element before the
needs, and a constant: weights · features + constant has mean 0 and standard deviation 1 over these rows (whitened).

Shape legend: N rows, P elements of the array before the needs, C components.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row

from memberlevel_spark.models.spec import Components

# Elements lie within the encoder's bound of 5. In steps of 2^-16 they are whole numbers below 2^19, and 2^15 products
# of two add up below 2^53: floats hold every such sum exactly, in whatever order it is made.
_STEPS = 2.0**16
_ROWS_PER_SUM = 2**15
_SUMS = "num_rows bigint, moments array<string>"
# Directions in which rows differ by less than rounding does are none.
_SMALLEST_VARIANCE = 1e-6


def build_moments(training_rows: DataFrame, *, num_elements: int) -> DataFrame:
    """Per task: its rows, and the sums of products of every two of the first ``num_elements`` of ``features`` and a 1,
    row by row of [P + 1, P + 1], as text; they are exact, so that they do not depend on partitions."""

    def moments(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        num_rows, total = 0, np.zeros((num_elements + 1) ** 2, dtype=object)
        for batch in batches:
            if not batch.num_rows:
                continue
            values_NE = batch.column("features").flatten().to_numpy(zero_copy_only=False)
            values_NP = values_NE.reshape(batch.num_rows, -1)[:, :num_elements].astype(np.float64)
            whole_NP1 = np.hstack([np.rint(values_NP * _STEPS), np.ones((batch.num_rows, 1))])
            for start in range(0, batch.num_rows, _ROWS_PER_SUM):
                rows = whole_NP1[start : start + _ROWS_PER_SUM]
                total = total + (rows.T @ rows).ravel().astype(np.int64).astype(object)
            num_rows += batch.num_rows
        if num_rows:
            columns = [pa.array([num_rows]), pa.array([[str(number) for number in total]])]
            yield pa.record_batch(columns, names=["num_rows", "moments"])

    return training_rows.select("features").mapInArrow(moments, _SUMS)


def components_of(sums: Sequence[Row], num_components: int) -> Components:
    """The components from the rows of ``build_moments``, collected; there is one at least.

    Fewer than asked for where the rows differ in fewer directions. Each points to where its largest weight is positive.
    """
    num_rows = sum(row["num_rows"] for row in sums)
    added: Any = sum(np.array([int(text) for text in row["moments"]], dtype=object) for row in sums)
    size = round(len(added) ** 0.5)
    moments_PP = (added / num_rows).astype(np.float64).reshape(size, size)
    mean_P = moments_PP[:-1, -1] / _STEPS
    covariance_PP = moments_PP[:-1, :-1] / _STEPS**2 - np.outer(mean_P, mean_P)
    variance_P, axes_PP = np.linalg.eigh(covariance_PP)
    largest = np.argsort(variance_P)[::-1][:num_components]
    return tuple(
        _whitened(axes_PP[:, place], variance_P[place], mean_P)
        for place in largest
        if variance_P[place] > _SMALLEST_VARIANCE
    )


def _whitened(axis_P: NDArray[np.float64], variance: float, mean_P: NDArray[np.float64]) -> tuple[float, ...]:
    weight_P = axis_P * np.sign(axis_P[np.abs(axis_P).argmax()]) / np.sqrt(variance)
    return (*weight_P.tolist(), float(-weight_P @ mean_P))
