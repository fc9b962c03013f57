"""Counts rows of example files by the values of a few columns, without reading the others.

In: the files of a split. Out: number of rows per combination of values.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.feed.store import open_file


def count_rows(paths: Iterable[str], columns: Sequence[str]) -> dict[tuple[int, ...], int]:
    """Return the number of rows per combination of values of whole-number columns, or of lists of one such number.

    Raises:
        ArtefactError: a file cannot be read.
    """
    total: Counter[tuple[int, ...]] = Counter()
    for path in paths:
        try:
            with open_file(path) as source:
                table = pq.ParquetFile(source).read(columns=list(columns))
        except (OSError, pa.ArrowException) as error:
            raise ArtefactError(
                f"examples cannot be counted: {path} ({str(error).splitlines()[0]}). Check that the pinned version"
                " still exists and is intact."
            ) from error
        table = pa.table({name: _flat(table.column(name)) for name in columns})
        groups = table.group_by(list(columns)).aggregate([([], "count_all")])
        values = (groups.column(name).to_pylist() for name in columns)
        total.update(dict(zip(zip(*values, strict=True), groups.column("count_all").to_pylist(), strict=True)))
    return dict(total)


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.list_flatten(column) if pa.types.is_list(column.type) else column
