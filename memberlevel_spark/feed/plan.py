"""Who reads what: pure integer arithmetic over the row groups of one table version's files.

The rows of all files, in the order of their paths, are cut into a fixed number of lanes of equal length (to a row).
Every global batch takes the same number of rows from every lane, and a rank reads the batches of its share of the
lanes. So a global batch holds the same rows for any number of ranks that divides the lanes, all ranks make the same
number of steps, and every row is read once per epoch, whatever the sizes of the files are:

    files    |0 0 0 0 0 0 0|1 1|2 2 2|        12 rows, 3 files
    lanes    |a a a|b b b|c c c|d d d|        4 lanes of 3 rows
    step 0    a     b     c     d             a batch of 4 rows: one of each lane
    ranks     0     0     1     1             2 ranks: the first two lanes, the last two

In: (path, row group, rows) from the Parquet footers. Out: the pieces of each lane, and how many steps all ranks make.
Nothing depends on the names of files beyond their order, so a table written again plans the same.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.errors import ArtefactError, ConfigError, first_five
from memberlevel_spark.feed.store import open_file

Tail = Literal["pad", "drop"]


@dataclass(frozen=True, order=True)
class RowGroup:
    """One row group of a Parquet file (absolute local path or URI) and the rows its footer declares."""

    path: str
    number: int
    num_rows: int


@dataclass(frozen=True)
class Piece:
    """Rows of one row group that belong to one lane: ``num_rows`` of them from ``first_row`` on."""

    group: RowGroup
    first_row: int
    num_rows: int


@dataclass(frozen=True)
class FeedPlan:
    """What an epoch consists of. ``batch_rows`` is the global batch; each lane gives an equal part of it."""

    lanes: tuple[tuple[Piece, ...], ...]
    batch_rows: int
    world_size: int
    tail: Tail

    @property
    def num_lanes(self) -> int:
        """Number of lanes, a multiple of the number of ranks."""
        return len(self.lanes)

    @property
    def lane_batch_rows(self) -> int:
        """Rows one lane gives to a batch."""
        return self.batch_rows // self.num_lanes

    @property
    def local_batch_rows(self) -> int:
        """Rows of one rank's batch, padding included."""
        return self.batch_rows // self.world_size

    @cached_property
    def lane_rows(self) -> tuple[int, ...]:
        """Rows of each lane; they differ by one at most."""
        return tuple(sum(piece.num_rows for piece in pieces) for pieces in self.lanes)

    @property
    def num_rows(self) -> int:
        """Rows of all lanes."""
        return sum(self.lane_rows)

    @property
    def steps_per_epoch(self) -> int:
        """Steps every rank makes in an epoch: until the longest lane is empty, or as long as all lanes are full."""
        if self.tail == "drop":
            return min(self.lane_rows) // self.lane_batch_rows
        return math.ceil(max(self.lane_rows) / self.lane_batch_rows)

    @property
    def rows_per_epoch(self) -> int:
        """Rows that all ranks read in an epoch."""
        return self.num_rows - self.dropped_rows

    @property
    def padded_rows(self) -> int:
        """Rows of weight 0 that all ranks add in an epoch."""
        return self.steps_per_epoch * self.batch_rows - self.rows_per_epoch

    @property
    def dropped_rows(self) -> int:
        """Rows that an epoch leaves out; others in every epoch, since the order is new."""
        return max(0, self.num_rows - self.steps_per_epoch * self.batch_rows) if self.tail == "drop" else 0

    @cached_property
    def positions(self) -> dict[str, int]:
        """Number of each file when all files are sorted by path: a name for it that outlives a rewrite of the table."""
        paths = sorted({piece.group.path for pieces in self.lanes for piece in pieces})
        return {path: position for position, path in enumerate(paths)}

    def lanes_of(self, rank: int) -> range:
        """The lanes one rank reads."""
        share = self.num_lanes // self.world_size
        return range(rank * share, (rank + 1) * share)

    def lane_rows_at_step(self, lane: int, step: int) -> int:
        """Rows with weight 1 that a lane gives to the batch at ``step`` of an epoch, counted from 0."""
        left = self.lane_rows[lane] - step * self.lane_batch_rows
        return max(0, min(self.lane_batch_rows, left))

    def rows_at_step(self, rank: int, step: int) -> int:
        """Rows with weight 1 in this rank's batch at ``step`` of an epoch."""
        return sum(self.lane_rows_at_step(lane, step) for lane in self.lanes_of(rank))

    def global_rows_at_step(self, step: int) -> int:
        """Rows with weight 1 in the global batch at ``step`` of an epoch."""
        return sum(self.lane_rows_at_step(lane, step) for lane in range(self.num_lanes))


def read_row_groups(paths: Sequence[str]) -> tuple[RowGroup, ...]:
    """Read the row counts of every file from its footer; the result is sorted by path and number.

    Raises:
        ArtefactError: a file is missing or is not Parquet.
        ConfigError: a path is neither local and absolute nor a URI of a store.
    """
    found: list[RowGroup] = []
    broken: list[str] = []
    for path in sorted(paths):
        try:
            with open_file(path) as source:
                footer = pq.read_metadata(source)
        except (OSError, pa.ArrowException) as error:
            broken.append(f"{path} ({str(error).splitlines()[0]})")
            continue
        found += [RowGroup(path, index, footer.row_group(index).num_rows) for index in range(footer.num_row_groups)]
    if broken:
        raise ArtefactError(
            f"examples files cannot be read: {first_five(broken)}. List the live files of a version that still exists."
        )
    return tuple(found)


def plan_feed(
    groups: Sequence[RowGroup], *, world_size: int, batch_rows: int, num_lanes: int, tail: Tail = "pad"
) -> FeedPlan:
    """Cut the rows of all row groups into lanes of equal length.

    Args:
        groups: the row groups of one split; empty ones are left out.
        world_size: number of ranks.
        batch_rows: rows of the global batch, a multiple of ``num_lanes``.
        num_lanes: a multiple of ``world_size``; the same number gives the same batches for any number of ranks.
        tail: what becomes of rows that do not fill a last batch: ``pad`` it with rows of weight 0, or ``drop`` them.

    Raises:
        ConfigError: ranks, lanes and batch do not divide, or there are too few rows for them.
        ArtefactError: no rows at all, or a row group is listed twice.
    """
    _check_sizes(world_size, batch_rows, num_lanes)
    filled = sorted(group for group in groups if group.num_rows > 0)
    _check_groups(filled, world_size)
    num_rows = sum(group.num_rows for group in filled)
    cuts = [num_rows * lane // num_lanes for lane in range(num_lanes + 1)]
    lanes = tuple(tuple(_pieces(filled, *cut)) for cut in pairwise(cuts))
    plan = FeedPlan(lanes, batch_rows, world_size, tail)
    if plan.steps_per_epoch == 0:
        raise ConfigError(
            f"no full batch: {num_rows} rows, batches of {batch_rows} from {num_lanes} lanes. Lower"
            " training.batch_rows, or set training.tail to pad."
        )
    return plan


def _pieces(groups: Sequence[RowGroup], first: int, end: int) -> Iterator[Piece]:
    """The rows from ``first`` up to ``end`` of all row groups, one after the other."""
    start = 0
    for group in groups:
        low, high = max(first, start), min(end, start + group.num_rows)
        if low < high:
            yield Piece(group, low - start, high - low)
        start += group.num_rows


def _check_sizes(world_size: int, batch_rows: int, num_lanes: int) -> None:
    if world_size < 1 or num_lanes < 1 or num_lanes % world_size:
        nearest = max(1, round(num_lanes / max(1, world_size))) * max(1, world_size)
        raise ConfigError(
            f"{num_lanes} lanes cannot be divided among {world_size} processes. Set training.lanes to {nearest}, or"
            " change training.num_processes."
        )
    if batch_rows < 1 or batch_rows % num_lanes:
        nearest = max(1, round(batch_rows / num_lanes)) * num_lanes
        raise ConfigError(
            f"a batch of {batch_rows} rows cannot be divided among {num_lanes} lanes. Set training.batch_rows to"
            f" {nearest}, or change training.lanes."
        )


def _check_groups(filled: Sequence[RowGroup], world_size: int) -> None:
    times = Counter((group.path, group.number) for group in filled)
    twice = sorted({path for (path, _), count in times.items() if count > 1})
    if twice:
        raise ArtefactError(f"examples files listed twice: {first_five(twice)}. List each live file once.")
    rows = sum(group.num_rows for group in filled)
    if rows == 0:
        raise ArtefactError("no examples to read: 0 rows. Build the examples of this split first.")
    if rows < world_size:
        raise ConfigError(f"fewer rows than processes: {rows} rows, {world_size} processes. Use {rows} or fewer.")
