"""The classes petastorm expects from pyarrow before version 15, over an explicit list of row groups.

In: row groups, in the order in which they are to be read. Out: footers, and row groups as Arrow tables that know where
they came from. Petastorm hands our file system object to everything it makes, so the list travels with it.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.feed.plan import RowGroup
from memberlevel_spark.feed.store import open_file


class RowGroupFiles:
    """The file system petastorm asks for, and the row groups that are to be read from it."""

    def __init__(self, row_groups: Sequence[RowGroup]) -> None:
        self.row_groups = tuple(row_groups)

    def open(self, path: str, mode: str = "rb") -> pa.NativeFile:
        """Open a file for reading."""
        return open_file(path)


class ParquetDatasetPiece:
    """Stands in for pyarrow's old ``ParquetDatasetPiece``: one row group of one file."""

    partition_keys = ()

    def __init__(self, row_group: RowGroup) -> None:
        self.path, self.row_group = row_group.path, row_group.number

    def get_metadata(self) -> pq.FileMetaData:
        with open_file(self.path) as source:
            return pq.ParquetFile(source).metadata

    def read(self, columns: set[str], partitions: None = None) -> pa.Table:
        with open_file(self.path) as source:
            table = pq.ParquetFile(source).read_row_group(self.row_group, columns=sorted(columns), use_threads=False)
        # The table travels through petastorm's queue; its metadata tells where it came from at the other end.
        return table.replace_schema_metadata({"path": self.path, "row_group": str(self.row_group)})


class ParquetDataset:
    """Stands in for pyarrow's old ``ParquetDataset``; the row groups are those of the file system it is given."""

    metadata = common_metadata = partitions = None

    def __init__(self, path_or_paths: list[str], filesystem: RowGroupFiles, **options: object) -> None:
        self.paths, self.fs = path_or_paths, filesystem
        self.pieces = [ParquetDatasetPiece(row_group) for row_group in filesystem.row_groups]
