"""In which order one rank reads its pieces in an epoch, and the rows inside each: fixed by seed and epoch alone.

In: a plan, a rank, an epoch and the first step that is still to be made. Out: the readings, in the order in which the
steps need them, so that one reader serves all lanes of a rank and holds one row group per lane at most, plus what is
read ahead. A row belongs to the same step of an epoch whether the epoch is read from its start or from its middle.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.feed.plan import FeedPlan, Piece


@dataclass(frozen=True)
class Reading:
    """A piece that is to be read for a lane; ``step`` is the first step that needs one of its rows.

    ``skip`` rows of it, in the epoch's order, went to batches before the first step; the ``take`` after them count.
    """

    lane: int
    piece: Piece
    step: int
    skip: int
    take: int


def reading_order(plan: FeedPlan, rank: int, *, seed: int | None, epoch: int, first_step: int = 0) -> list[Reading]:
    """Every reading of one rank's epoch from ``first_step`` on, sorted by the step that needs it, then by lane.

    Without a seed the pieces come in the order of the table.
    """
    size, last_row = plan.lane_batch_rows, plan.steps_per_epoch * plan.lane_batch_rows
    readings = []
    for lane in plan.lanes_of(rank):
        start = 0
        for piece in _permuted(plan.lanes[lane], seed, epoch, lane):
            first = max(start, first_step * size)
            end = min(start + piece.num_rows, last_row)
            if first < end:
                readings.append(Reading(lane, piece, first // size, skip=first - start, take=end - first))
            start += piece.num_rows
    return sorted(readings, key=lambda reading: (reading.step, reading.lane))


def row_order(plan: FeedPlan, reading: Reading, *, seed: int | None, epoch: int) -> NDArray[np.int64]:
    """Numbers, inside the row group, of the rows that a reading gives, in the order in which they go to batches."""
    piece = reading.piece
    order_R = np.arange(piece.num_rows)
    if seed is not None:
        key = [seed, epoch, plan.positions[piece.group.path], piece.group.number, piece.first_row]
        order_R = np.random.default_rng(key).permutation(piece.num_rows)
    return order_R[reading.skip : reading.skip + reading.take] + piece.first_row


def _permuted(pieces: tuple[Piece, ...], seed: int | None, epoch: int, lane: int) -> tuple[Piece, ...]:
    if seed is None:
        return pieces
    order = np.random.default_rng([seed, epoch, lane]).permutation(len(pieces))
    return tuple(pieces[index] for index in order)
