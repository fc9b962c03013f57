"""Read row groups with pyarrow alone: the reader beside petastorm, for what petastorm cannot run on."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow.parquet as pq

from memberlevel_spark.feed.fields import column_to_numpy
from memberlevel_spark.feed.plan import RowGroup
from memberlevel_spark.feed.readers import NUM_WORKERS, Rows
from memberlevel_spark.feed.store import open_file


@contextmanager
def open_row_groups(groups: Sequence[RowGroup], fields: Sequence[str]) -> Iterator[Iterator[Rows]]:
    """Read these columns of these row groups, in the order given.

    Raises:
        OSError, pyarrow.ArrowException: a file cannot be opened or read; while iterating.
        DataQualityError: nulls, or lists of different lengths; while iterating.
    """
    with ThreadPoolExecutor(NUM_WORKERS, thread_name_prefix="row-groups") as pool:
        yield _in_order(pool, groups, sorted(fields))


def _in_order(pool: ThreadPoolExecutor, groups: Sequence[RowGroup], fields: Sequence[str]) -> Iterator[Rows]:
    pending: deque[Future[Rows]] = deque()
    for group in groups:
        pending.append(pool.submit(_read, group, fields))
        if len(pending) > NUM_WORKERS:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _read(group: RowGroup, fields: Sequence[str]) -> Rows:
    with open_file(group.path) as source:
        table = pq.ParquetFile(source).read_row_group(group.number, columns=list(fields), use_threads=False)
    return Rows(
        group.path, group.number, {name: column_to_numpy(name, table.column(name)) for name in table.column_names}
    )
