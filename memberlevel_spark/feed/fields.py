"""The columns the trainer reads from `examples`, and how an Arrow column becomes a numpy array.

In: one Parquet row group as an Arrow table. Out: one numpy array per column, one row per example.

Shape legend: R rows of a row group, F features.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memberlevel_spark.errors import DataQualityError

FEATURES, LEVEL_NOW, TARGET, ROW_KEY = "features", "level_now", "target_level", "row_key"

# What each column must be; a list element may be marked nullable, as Spark writes it, but must not be null.
FIELD_TYPES: dict[str, pa.DataType] = {
    FEATURES: pa.list_(pa.float32()),
    LEVEL_NOW: pa.int32(),
    TARGET: pa.int32(),
    ROW_KEY: pa.int64(),
}


def column_to_numpy(name: str, column: pa.ChunkedArray) -> NDArray[Any]:
    """Turn a numeric column into [R], or a list column of one fixed length into [R, F], without going through Python.

    Raises:
        DataQualityError: a null, at any depth, or lists of different lengths: either would shift rows unseen.
    """
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], type=column.type)
    values = array.flatten() if pa.types.is_list(array.type) else array
    num_nulls = array.null_count + (values.null_count if values is not array else 0)
    if num_nulls:
        raise DataQualityError(f"{name} holds nulls: {num_nulls} in one row group. Write examples without nulls.")
    values_V: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    if not pa.types.is_list(array.type):
        return values_V
    lengths_R = np.diff(array.offsets.to_numpy())
    if lengths_R.size and lengths_R.min() != lengths_R.max():
        raise DataQualityError(
            f"{name} has lists of different lengths: {lengths_R.min()} to {lengths_R.max()}. "
            "Encode every example with the same encoder."
        )
    return values_V.reshape(len(array), int(lengths_R[0]) if lengths_R.size else 0)
