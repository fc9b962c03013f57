"""Streams one rank's share of the examples as batches of tensors, and proves at each epoch's end that none is lost.

In: a feed plan, a rank and a position. Out: batches without end, each with the position after it, in an order fixed by
seed and epoch: the pieces of each lane in a new order, rows permuted inside each piece, the tail padded with weight 0.

Shape legend: B rows of a rank's batch, F features, L length of a list, R rows of a row group.
"""

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.feed.audit import EpochAudit
from memberlevel_spark.feed.fields import AS_OF_DAY, FEATURES, LEVEL_NOW, OUTCOMES, ROW_KEY, TARGET, Fields
from memberlevel_spark.feed.order import Reading, reading_order, row_order
from memberlevel_spark.feed.plan import FeedPlan
from memberlevel_spark.feed.read_ahead import read_ahead
from memberlevel_spark.feed.readers import BY_DEFAULT, ReaderSettings, Rows, reader_named


class Position(NamedTuple):
    """How far a run has read: ``step`` batches of ``epoch``, both counted from 0."""

    epoch: int
    step: int


START = Position(0, 0)


class Batch(NamedTuple):
    """One rank's part of a global batch; rows of weight 0 are padding, and all their values are 0."""

    features_BF: Tensor  # float32
    level_now_B: Tensor  # int64
    target_B: Tensor  # int64
    outcomes_B2: Tensor  # float32: number of orders, net spend in minor units
    weight_B: Tensor  # float32, 1 or 0
    row_key_B: Tensor  # int64; names the rows when something is wrong with them
    as_of_day_B: Tensor  # int64, in days since 1970-01-01
    lists: dict[str, Tensor]  # name -> [B, L], float32 or int32


class _Waiting:
    """Rows of one reading that wait for their batch: plain columns already in their order, lists still in the table's.

    Lists are copied once only, into their batch.
    """

    def __init__(self, rows: Rows, order_R: NDArray[np.int64]) -> None:
        self._order_R, self._start = order_R, 0
        self._lists = {name: column for name, column in rows.columns.items() if column.ndim > 1}
        plain = {name: column for name, column in rows.columns.items() if column.ndim == 1}
        self._plain = {name: column[order_R].astype(np.int64, copy=False) for name, column in plain.items()}

    def move(self, num_rows: int, columns: dict[str, NDArray[Any]], first: int) -> int:
        """Copy the next ``num_rows``, or as many as are left, to ``columns`` from row ``first`` on; says how many."""
        start, end = self._start, min(self._start + num_rows, len(self._order_R))
        last = first + end - start
        for name, column in self._plain.items():
            columns[name][first:last] = column[start:end]
        rows_R = self._order_R[start:end]
        for name, column in self._lists.items():
            column.take(rows_R, axis=0, out=columns[name][first:last], mode="clip")
        self._start = end
        return end - start

    @property
    def empty(self) -> bool:
        return self._start == len(self._order_R)


class FeedLoader:
    """Reads one rank's lanes, one reader per epoch."""

    def __init__(
        self,
        plan: FeedPlan,
        rank: int,
        *,
        fields: Fields,
        seed: int | None,
        reader: ReaderSettings = BY_DEFAULT,
    ) -> None:
        """Prepare to read.

        Args:
            plan: who reads what.
            rank: the rank whose lanes are read.
            fields: the columns.
            seed: of the order; None reads in the order of the table, for rows whose order does not matter.
            reader: what reads the files, and how.
        """
        self.plan, self.rank = plan, rank
        self._fields, self._seed = fields, seed
        self._open, self._reader = reader_named(reader.name), reader
        self._audit = EpochAudit(rank)
        self._names, self._batch_shapes = list(fields.types), self._shapes()

    def batches(self, position: Position) -> Iterator[tuple[Position, Batch]]:
        """Yield batches from a position on, epoch after epoch without end, each with the position after it.

        Reading goes on across the ends of epochs, also while the caller evaluates.
        """
        epoch, first_step = position
        arriving = self._ahead(self._row_groups_without_end(position))
        while True:
            for step, batch in enumerate(self._epoch(epoch, first_step, arriving), first_step + 1):
                yield Position(epoch, step), batch
            epoch, first_step = epoch + 1, 0

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from a step on, each of ``plan.local_batch_rows`` rows.

        Raises:
            ArtefactError: a file could not be read, the reader is stuck, or the rows read are not the rows planned;
                where rows are missing, before the last batch.
            DataQualityError: nulls, or lists of different lengths.
        """
        yield from self._epoch(epoch, first_step, self._ahead(self._row_groups(epoch, first_step)))

    def _epoch(self, epoch: int, first_step: int, arriving: Iterator[Rows | None]) -> Iterator[Batch]:
        readings = self._readings(epoch, first_step)
        waiting: dict[int, deque[_Waiting]] = {lane: deque() for lane in self.plan.lanes_of(self.rank)}
        self._audit.start(epoch, readings)
        num_read = 0
        for step in range(first_step, self.plan.steps_per_epoch):
            while num_read < len(readings) and readings[num_read].step <= step:
                rows = next(arriving)
                if rows is None:
                    self._audit.ended()
                    break
                reading = self._arrived(rows)
                order_R = row_order(self.plan, reading, seed=self._seed, epoch=epoch)
                waiting[reading.lane].append(_Waiting(rows, order_R))
                num_read += 1
            batch = self._batch(waiting, step)
            if step == self.plan.steps_per_epoch - 1:
                self._audit.finish(every_row=first_step == 0 and self.plan.dropped_rows == 0)
            yield batch
        if (surplus := next(arriving)) is not None:
            self._arrived(surplus)

    def _arrived(self, rows: Rows) -> Reading:
        return self._audit.arrived(rows.path, rows.number, len(rows.columns[ROW_KEY]))

    def _readings(self, epoch: int, first_step: int) -> list[Reading]:
        return reading_order(self.plan, self.rank, seed=self._seed, epoch=epoch, first_step=first_step)

    def _row_groups_without_end(self, position: Position) -> Iterator[Rows | None]:
        yield from self._row_groups(*position)
        for epoch in count(position.epoch + 1):
            yield from self._row_groups(epoch, 0)

    def _row_groups(self, epoch: int, first_step: int) -> Iterator[Rows | None]:
        """The row groups of an epoch as the reader gives them, and None at its end."""
        groups = [reading.piece.group for reading in self._readings(epoch, first_step)]
        if groups:
            with self._open(groups, self._names) as arriving:
                yield from arriving
        yield None

    def _ahead(self, row_groups: Iterator[Rows | None]) -> Iterator[Rows | None]:
        """The same row groups, read in a thread of its own."""
        settings = self._reader
        try:
            yield from read_ahead(
                row_groups,
                depth=settings.row_groups_ahead,
                timeout_seconds=settings.timeout_seconds,
                waiting_for=lambda: f"{self._audit.next_row_group} on rank {self.rank}",
            )
        except (OSError, pa.ArrowException) as error:
            raise ArtefactError(
                f"rank {self.rank} cannot read its examples: {str(error).splitlines()[0]}. "
                "Check that the pinned version still exists and is intact."
            ) from error

    def _batch(self, waiting: dict[int, deque[_Waiting]], step: int) -> Batch:
        """Gather the rows of one step, lane by lane; each lane's rows come before its padding."""
        size = self.plan.lane_batch_rows
        is_full = self.plan.rows_at_step(self.rank, step) == self.plan.local_batch_rows
        # Torch's memory lies on whole cache lines, numpy's anywhere, and how a product is summed may depend on that.
        make = torch.empty if is_full else torch.zeros
        tensors = {name: make(shape, dtype=kind) for name, (shape, kind) in self._batch_shapes.items()}
        columns = {name: tensor.numpy() for name, tensor in tensors.items()}
        weight_B = np.zeros(self.plan.local_batch_rows, dtype=np.float32)
        for index, lane in enumerate(waiting):
            first, left = index * size, self.plan.lane_rows_at_step(lane, step)
            weight_B[first : first + left] = 1.0
            while left and waiting[lane]:
                moved = waiting[lane][0].move(left, columns, first)
                first, left = first + moved, left - moved
                if waiting[lane][0].empty:
                    waiting[lane].popleft()
        self._audit.used(columns[ROW_KEY] if is_full else columns[ROW_KEY][weight_B > 0])
        return Batch(
            features_BF=tensors.pop(FEATURES),
            level_now_B=tensors.pop(LEVEL_NOW),
            target_B=tensors.pop(TARGET),
            outcomes_B2=tensors.pop(OUTCOMES),
            weight_B=torch.from_numpy(weight_B),
            row_key_B=tensors.pop(ROW_KEY),
            as_of_day_B=tensors.pop(AS_OF_DAY),
            lists=tensors,
        )

    def _shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and type of every column of a batch."""
        rows, lengths = self.plan.local_batch_rows, self._fields.lengths
        return {
            name: ((rows, lengths[name]), getattr(torch, np.dtype(arrow_type.value_type.to_pandas_dtype()).name))
            if name in lengths
            else ((rows,), torch.int64)
            for name, arrow_type in self._fields.types.items()
        }
