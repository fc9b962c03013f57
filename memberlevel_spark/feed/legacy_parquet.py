"""The two classes petastorm expects from pyarrow before version 15, and the file system it opens files with.

In: local paths, as petastorm hands them over. Out: footers, and row groups as Arrow tables that know their file.
"""

from collections.abc import Callable, Sequence
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq


class LocalFiles:
    """The file system petastorm asks for: it hands over the path of a URL still percent-encoded."""

    def open(self, path: str, mode: str = "rb") -> pa.NativeFile:
        """Open a file for reading."""
        return pa.OSFile(unquote(path), mode)


class ParquetDatasetPiece:
    """Stands in for pyarrow's old ``ParquetDatasetPiece``: one file, or one row group of it."""

    def __init__(
        self,
        path: str,
        open_file_func: Callable[[str], pa.NativeFile],
        row_group: int | None = None,
        partition_keys: Sequence[object] = (),
    ) -> None:
        self.path, self.row_group, self.partition_keys = path, row_group, partition_keys
        self._open = open_file_func

    def get_metadata(self) -> pq.FileMetaData:
        with self._open(self.path) as source:
            return pq.ParquetFile(source).metadata

    def read(self, columns: set[str], partitions: None = None) -> pa.Table:
        with self._open(self.path) as source:
            # One thread: reading one list column does not go faster with more, and the trainer needs the cores.
            table = pq.ParquetFile(source).read_row_group(self.row_group, columns=sorted(columns), use_threads=False)
        # The table travels through petastorm's queue; its metadata tells where it came from at the other end.
        return table.replace_schema_metadata({"path": unquote(self.path), "row_group": str(self.row_group)})


class ParquetDataset:
    """Stands in for pyarrow's old ``ParquetDataset`` over an explicit list of files."""

    metadata = common_metadata = partitions = None

    def __init__(self, path_or_paths: list[str], filesystem: LocalFiles, **options: object) -> None:
        self.paths, self.fs = path_or_paths, filesystem
        self.pieces = [ParquetDatasetPiece(path, filesystem.open) for path in path_or_paths]
