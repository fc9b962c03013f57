"""Streams one rank's share of the examples as batches of tensors, and proves at each epoch's end that none is lost.

In: a feed plan and a rank. Out per epoch: exactly ``plan.steps_per_epoch`` batches in an order fixed by seed and epoch:
files in a new order, rows permuted inside each row group, batches cut across row groups, the tail padded with weight 0.

Shape legend: B rows of a rank's batch, F features, R rows of a row group.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.feed import compat
from memberlevel_spark.feed.audit import EpochAudit
from memberlevel_spark.feed.fields import FEATURES, FIELD_TYPES, LEVEL_NOW, ROW_KEY, TARGET
from memberlevel_spark.feed.plan import FeedPlan, epoch_order

# Columns in the order of FIELD_TYPES, each [R] or [R, F].
Rows = list[NDArray[Any]]


class Batch(NamedTuple):
    """One rank's part of a global batch; rows of weight 0 are padding."""

    features_BF: Tensor  # float32
    level_now_B: Tensor  # int64
    target_B: Tensor  # int64
    weight_B: Tensor  # float32, 1 or 0
    row_key_B: Tensor  # int64; names the rows when something is wrong with them


class FeedLoader:
    """Reads one rank's files through petastorm, one reader per epoch."""

    def __init__(self, plan: FeedPlan, rank: int, *, num_features: int, seed: int) -> None:
        self.plan = plan
        self.rank = rank
        self._num_features = num_features
        self._seed = seed
        self._audit = EpochAudit(rank, plan.rank_files[rank])

    def epoch(self, epoch_index: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, each of ``plan.local_batch_rows`` rows.

        Raises:
            ArtefactError: a file could not be read, or the rows read are not the rows planned; before the last batch.
            DataQualityError: nulls, or lists of different lengths.
        """
        size = self.plan.local_batch_rows
        step, waiting = 0, self._no_rows()
        filler = waiting
        for rows in self._row_groups(epoch_index):
            waiting = _joined(waiting, rows)
            filler = [column[:1] for column in rows]
            full_rows = len(waiting[0]) // size * size
            for start in range(0, full_rows, size):
                yield _batch([column[start : start + size] for column in waiting], num_rows=size)
                step += 1
            waiting = [column[full_rows:] for column in waiting]
        for _ in range(step, self.plan.steps_per_epoch):
            num_rows = len(waiting[0])
            yield _batch(_joined(waiting, _repeated(filler, size - num_rows)), num_rows=num_rows)
            waiting = self._no_rows()

    def _row_groups(self, epoch_index: int) -> Iterator[Rows]:
        """Yield each row group's rows in this epoch's order, counting them; raise when the count is wrong."""
        files = epoch_order(self.plan.rank_files[self.rank], self._seed, epoch_index)
        self._audit.start(epoch_index)
        try:
            with compat.open_row_groups([file.path for file in files], list(FIELD_TYPES)) as groups:
                for group in groups:
                    self._audit.add(group.path, group.columns[ROW_KEY])
                    yield self._permuted(group, epoch_index)
        except (OSError, pa.ArrowException) as error:
            raise ArtefactError(
                f"rank {self.rank} cannot read its examples: {str(error).splitlines()[0]}. "
                "Check that the pinned version still exists and is intact."
            ) from error
        self._audit.finish()

    def _permuted(self, group: compat.RowGroup, epoch_index: int) -> Rows:
        key = [self._seed, epoch_index, self.plan.positions[group.path], group.number]
        order_R = np.random.default_rng(key).permutation(len(group.columns[ROW_KEY]))
        return [group.columns[name][order_R] for name in FIELD_TYPES]

    def _no_rows(self) -> Rows:
        shapes = {FEATURES: (0, self._num_features)}
        return [np.empty(shapes.get(name, (0,)), dtype=kind.to_pandas_dtype()) for name, kind in _ELEMENT_TYPES.items()]


_ELEMENT_TYPES = {
    name: pa_type.value_type if pa.types.is_list(pa_type) else pa_type for name, pa_type in FIELD_TYPES.items()
}


def _joined(first: Rows, second: Rows) -> Rows:
    return [np.concatenate(pair) for pair in zip(first, second, strict=True)]


def _repeated(rows: Rows, times: int) -> Rows:
    return [np.repeat(column, times, axis=0) for column in rows]


def _batch(rows: Rows, *, num_rows: int) -> Batch:
    """Make tensors of the rows; those from ``num_rows`` on are padding."""
    columns = dict(zip(FIELD_TYPES, rows, strict=True))
    weight_B = torch.zeros(len(columns[ROW_KEY]))
    weight_B[:num_rows] = 1.0
    return Batch(
        features_BF=torch.from_numpy(columns[FEATURES]),
        level_now_B=torch.from_numpy(columns[LEVEL_NOW].astype(np.int64)),
        target_B=torch.from_numpy(columns[TARGET].astype(np.int64)),
        weight_B=weight_B,
        row_key_B=torch.from_numpy(columns[ROW_KEY]),
    )
