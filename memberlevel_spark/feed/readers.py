"""What every reader of row groups gives, and the readers by name.

A reader takes the row groups a rank needs, in order, and gives them as numpy arrays in that order. ``petastorm`` is the
default; ``pyarrow`` reads the same with pyarrow alone. Which one is used changes no batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from memberlevel_spark.feed.plan import RowGroup

ReaderName = Literal["petastorm", "pyarrow"]


class Rows(NamedTuple):
    """What a row group holds: its file, its number in the file, and its columns, each with one entry per row."""

    path: str
    number: int
    columns: dict[str, NDArray[Any]]


class ReaderSettings(NamedTuple):
    """Which reader, how many row groups it reads ahead, and how long it may take for one before it counts as stuck."""

    name: ReaderName = "petastorm"
    row_groups_ahead: int = 4
    timeout_seconds: float = 120


BY_DEFAULT = ReaderSettings()
# Row groups that are decoded at the same time: whole ones side by side keep two cores busier than the columns of one.
NUM_WORKERS = 2

# Row groups and names of columns -> the same row groups' rows, in the same order.
Reader = Callable[[Sequence[RowGroup], Sequence[str]], AbstractContextManager[Iterator[Rows]]]


def reader_named(name: ReaderName) -> Reader:
    """The reader of that name; petastorm is imported only where it is asked for."""
    if name == "petastorm":
        from memberlevel_spark.feed import petastorm_reader

        return petastorm_reader.open_row_groups
    from memberlevel_spark.feed import arrow_reader

    return arrow_reader.open_row_groups
