"""The columns the trainer reads from `examples`, and how an Arrow column becomes a numpy array.

In: one Parquet row group as an Arrow table. Out: one numpy array per column, one row per example.

Shape legend: R rows of a row group, F features, L length of a list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memberlevel_spark.errors import DataQualityError

FEATURES, LEVEL_NOW, TARGET, OUTCOMES, ROW_KEY = "features", "level_now", "target_level", "outcomes", "row_key"
AS_OF_DAY = "as_of_day"
# Read as a list where the next category is learned.
NEXT_CATEGORY = "next_category"
# Number of orders and net spend in minor units, over the label's window.
NUM_OUTCOMES = 2

ListOf = Literal["float32", "int32"]


def group_column(attribute: str) -> str:
    """The column of the groups of a protected attribute; a list where rows are weighed by them."""
    return f"group_{attribute}"


@dataclass(frozen=True)
class Fields:
    """What is read: ``num_features`` features, and further list columns by name, each of one length in all rows.

    Attributes:
        num_features: length of the feature array.
        lists: name -> (element type, length) of list columns read beside the features, such as sequences.
    """

    num_features: int
    lists: Mapping[str, tuple[ListOf, int]] = field(default_factory=dict)

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Arrow type of each column; Spark marks list elements nullable, but none may be null."""
        return {
            FEATURES: pa.list_(pa.float32()),
            LEVEL_NOW: pa.int32(),
            TARGET: pa.int32(),
            OUTCOMES: pa.list_(pa.float32()),
            ROW_KEY: pa.int64(),
            AS_OF_DAY: pa.int32(),
            **{name: pa.list_(pa.type_for_alias(element)) for name, (element, _) in self.lists.items()},
        }

    @property
    def lengths(self) -> dict[str, int]:
        """Length of each list column."""
        return {
            FEATURES: self.num_features,
            OUTCOMES: NUM_OUTCOMES,
            **{name: length for name, (_, length) in self.lists.items()},
        }


def column_to_numpy(name: str, column: pa.ChunkedArray) -> NDArray[Any]:
    """Turn a numeric column into [R], or a list column of one fixed length into [R, L], without going through Python.

    Raises:
        DataQualityError: a null, at any depth, or lists of different lengths: either would shift rows unseen.
    """
    # A row group is one chunk; putting chunks together would copy it.
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
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
