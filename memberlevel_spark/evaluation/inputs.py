"""Check and type the arrays every metric is computed from.

In: anything numpy can read (lists, arrays, columns). Out: int64 and float64 arrays that are safe to compute on.

Shape legend: N members (one row per member and as-of date), K levels (0 is the lowest).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memberlevel_spark.errors import DataQualityError, first_five

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

ROW_SUM_TOLERANCE = 1e-6
# A softmax over a dozen levels in float32 misses 1 by about 1e-7 per term; 1e-4 also covers what went through files.
ROW_SUM_TOLERANCE_FLOAT32 = 1e-4


def checked_levels(name: str, levels_N: ArrayLike, *, num_levels: int) -> IntArray:
    """Return levels as int64 [N], each in [0, num_levels).

    Nulls are not allowed: a column with nulls arrives as floats and is refused like any other non-integer column.

    Raises:
        DataQualityError: no rows, more than one dimension, not whole numbers, or a level outside the range.
    """
    array_N = np.asarray(levels_N)
    if array_N.ndim != 1 or array_N.size == 0:
        raise DataQualityError(f"{name} must be one level per member: shape {array_N.shape}. Pass at least one row.")
    if array_N.dtype.kind not in "iu":
        raise DataQualityError(
            f"{name} must hold whole numbers: {array_N.dtype}, {first_five(array_N)}. Remove nulls and cast to integer."
        )
    outside = np.unique(array_N[(array_N < 0) | (array_N >= num_levels)])
    if outside.size:
        raise DataQualityError(
            f"{name} holds levels outside 0 to {num_levels - 1}: {first_five(outside)}. Use this run's level rules."
        )
    return array_N.astype(np.int64)


def checked_probabilities(p_level_NK: ArrayLike) -> FloatArray:
    """Return the level probabilities as float64 [N, K], K of at least 2.

    Rows may miss 1 by 1e-6. Rows of float32 or narrower may miss it by 1e-4 and are divided by their sum; float64
    stays as it came, so that a probability on the edge of a bin is not moved over it.

    Raises:
        DataQualityError: wrong shape, nulls, infinities, values below 0, or rows that do not sum to 1.
    """
    raw_NK = np.asarray(p_level_NK)
    if raw_NK.ndim != 2 or raw_NK.shape[0] == 0 or raw_NK.shape[1] < 2:
        raise DataQualityError(
            f"p_level must have one row per member and at least two levels: shape {raw_NK.shape}. Pass shape [N, K]."
        )
    narrow = raw_NK.dtype.kind == "f" and raw_NK.dtype.itemsize <= 4
    p_NK: FloatArray = raw_NK.astype(np.float64)
    impossible = p_NK[~(np.isfinite(p_NK) & (p_NK >= 0))]
    if impossible.size:
        raise DataQualityError(
            f"p_level holds values that are no probability: {first_five(impossible)}. Check the scores they come from."
        )
    sum_N = p_NK.sum(axis=1)
    wrong = sum_N[np.abs(sum_N - 1.0) > (ROW_SUM_TOLERANCE_FLOAT32 if narrow else ROW_SUM_TOLERANCE)]
    if wrong.size:
        raise DataQualityError(
            f"p_level has rows that do not sum to 1: {first_five(wrong)}. Apply the softmax, or normalise the rows."
        )
    return p_NK / sum_N[:, np.newaxis] if narrow else p_NK


def check_same_rows(**arrays: IntArray | FloatArray) -> None:
    """Refuse arrays whose first dimension, the members, differs.

    Raises:
        DataQualityError: names and lengths of all arrays, when they are not all equal.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        shown = first_five(f"{name} {length}" for name, length in lengths.items())
        raise DataQualityError(f"The numbers of rows differ: {shown}. Pass the same members in the same order.")
