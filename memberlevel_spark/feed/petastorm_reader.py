"""Run petastorm 0.12.1 on today's pyarrow and numpy, and read row groups with it.

Petastorm needs names that pyarrow and numpy removed. They are lent while petastorm is imported and taken back; what it
needs later is put into petastorm's own modules. Pyarrow and numpy are as before once this module is imported, which
must happen before anything imports petastorm. Petastorm's process pool is refused: its children lack this adapter.

In: row groups of Parquet files. Out: their rows as numpy arrays, in the order given.
"""

import contextlib
import importlib
import io
import itertools
import logging
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.feed.fields import column_to_numpy
from memberlevel_spark.feed.legacy_parquet import ParquetDataset, ParquetDatasetPiece, RowGroupFiles
from memberlevel_spark.feed.plan import RowGroup
from memberlevel_spark.feed.readers import NUM_WORKERS, Rows

logger = logging.getLogger(__name__)

_MODULES_THAT_USE_PARQUET = (
    "petastorm.reader",
    "petastorm.arrow_reader_worker",
    "petastorm.py_dict_reader_worker",
    "petastorm.etl.dataset_metadata",
    "petastorm.etl.rowgroup_indexing",
)


class _Overlay:
    """A module as petastorm sees it: our names first, every other name from the real module."""

    def __init__(self, module: types.ModuleType, **names: object) -> None:
        self.__dict__.update(names)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class RowGroupReader:
    """Takes Arrow tables off petastorm's result queue and turns them into ``Rows`` without pandas."""

    batched_output = True

    def read_next(self, workers_pool: Any, schema: object, ngram: object) -> Rows:
        """Return the next row group; ``StopIteration`` after the last one."""
        table = _next_table(workers_pool)
        source = table.schema.metadata
        columns = {name: column_to_numpy(name, table.column(name)) for name in table.column_names}
        return Rows(source[b"path"].decode(), int(source[b"row_group"]), columns)


def _next_table(workers_pool: Any) -> pa.Table:
    empty = sys.modules["petastorm.workers_pool"].EmptyResultError
    while True:
        try:
            return workers_pool.get_results()
        except empty:
            # The thread pool looks at its counters first and asks whether all work was handed out second. Work handed
            # out in between looks like the end. At this point the counters are final, so a second look is right.
            handed_out = getattr(workers_pool, "_ventilated_items", 0)
            if handed_out == getattr(workers_pool, "_ventilated_items_processed", 0):
                raise StopIteration from None


class _ToLog(io.TextIOBase):
    """A stream that logs: petastorm writes the stack of an error that we raise anyway."""

    def write(self, text: str) -> int:
        logger.debug("%s", text.rstrip())
        return len(text)


def _refuse_process_pool(*_: object, **__: object) -> NoReturn:
    raise ConfigError("petastorm's process pool is not supported: its children lack the adapter. Use the thread pool.")


@contextlib.contextmanager
def _lent_names() -> Iterator[None]:
    """Lend pyarrow and numpy the names that petastorm's import statements ask for; take them back afterwards."""
    modules: dict[str, tuple[str, type]] = {
        "pyarrow.filesystem": ("LocalFileSystem", RowGroupFiles),
        "pyarrow.hdfs": ("HadoopFileSystem", object),
    }
    names = [(pa.lib, "ArrowIOError", OSError), (np, "unicode_", np.str_), (np, "string_", np.bytes_)]
    lent_modules = [name for name in modules if name not in sys.modules]
    lent_names = [(owner, name, value) for owner, name, value in names if name not in vars(owner)]
    for name in lent_modules:
        module = types.ModuleType(name)
        setattr(module, *modules[name])
        sys.modules[name] = module
    for owner, name, value in lent_names:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name in lent_modules:
            del sys.modules[name]
        for owner, name, _ in lent_names:
            delattr(owner, name)


def _adapt_petastorm() -> None:
    with _lent_names(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = {name: importlib.import_module(name) for name in _MODULES_THAT_USE_PARQUET}
    old_parquet = _Overlay(pq, ParquetDataset=ParquetDataset, ParquetDatasetPiece=ParquetDatasetPiece)
    for module in modules.values():
        vars(module)["pq"] = old_parquet
    old_numpy = _Overlay(np, unicode_=np.str_, string_=np.bytes_)
    vars(sys.modules["petastorm.unischema"])["np"] = old_numpy
    reader = vars(sys.modules["petastorm.reader"])
    reader["ProcessPool"] = _refuse_process_pool
    # The plan has read the footers already and knows the order; petastorm would read them again in every epoch.
    reader["dataset_metadata"] = _Overlay(
        modules["petastorm.etl.dataset_metadata"], load_row_groups=lambda dataset: list(dataset.pieces)
    )
    vars(sys.modules["petastorm.workers_pool.thread_pool"])["sys"] = _Overlay(sys, stderr=_ToLog(), stdout=_ToLog())
    worker = vars(modules["petastorm.arrow_reader_worker"])
    worker["ArrowReaderWorker"].new_results_queue_reader = staticmethod(RowGroupReader)
    # It opens each file once more than it reads it, for nothing.
    worker["ParquetFile"] = lambda source: source.close()
    # It tells, twice per epoch, that the files carry no petastorm schema.
    logging.getLogger("petastorm").setLevel(logging.WARNING)


_adapt_petastorm()


@contextlib.contextmanager
def open_row_groups(
    groups: Sequence[RowGroup], fields: Sequence[str], *, pool: str = "thread"
) -> Iterator[Iterator[Rows]]:
    """Read these columns of these row groups once, in the order given; at most three a worker are read ahead.

    A petastorm reader keeps its order with one worker only, so each worker is a reader of its own, and they take turns.

    Args:
        groups: the row groups.
        fields: names of the columns to read.
        pool: ``thread``, or ``dummy`` (read in the caller's thread).

    Raises:
        ConfigError: the process pool was asked for.
        OSError, pyarrow.ArrowException: a file cannot be opened or read.
    """
    shares = [groups[worker::NUM_WORKERS] for worker in range(NUM_WORKERS)]
    with contextlib.ExitStack() as opened:
        yield _in_turn([opened.enter_context(_opened(share, fields, pool)) for share in shares if share])


def _in_turn(readers: Sequence[Iterator[Rows]]) -> Iterator[Rows]:
    for reader in itertools.cycle(readers):
        rows = next(reader, None)
        if rows is None:
            break
        yield rows
    # When one has ended all should have; what still comes is for the audit to judge.
    yield from itertools.chain.from_iterable(readers)


@contextlib.contextmanager
def _opened(groups: Sequence[RowGroup], fields: Sequence[str], pool: str) -> Iterator[Iterator[Rows]]:
    make_batch_reader = sys.modules["petastorm.reader"].make_batch_reader
    with contextlib.redirect_stdout(_ToLog()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about columns that it cannot read and that we do not ask for
        reader = make_batch_reader(
            "file:///row-groups",  # never opened: the row groups come with the file system
            schema_fields=list(fields),
            reader_pool_type=pool,
            workers_count=1,
            shuffle_row_groups=False,
            num_epochs=1,
            filesystem=RowGroupFiles(groups),
        )
    try:
        yield iter(reader)
    finally:
        with contextlib.redirect_stdout(_ToLog()):
            reader.stop()
            reader.join()
