"""The window kernel: every window of every as-of date for a batch of members at once, in numpy.

A sum over ``(a - w, a]`` is C[a] - C[a - w] with C the running sum of a member's tiles. Members of a batch are laid one
after the other on a single axis, so that one ``searchsorted`` per window answers all members and all dates together.
Shapes: T tiles of the batch, Q questions (member, as-of date), M measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Longs = NDArray[np.int64]
# Days of one member's stretch of the axis; wider than any history plus any window.
STRETCH = np.int64(1 << 20)


@dataclass(frozen=True)
class TileAxis:
    """Tiles of a batch on one ascending axis: position = member index x STRETCH + day; values are exact integers."""

    position_T: Longs
    values_MT: Longs

    @classmethod
    def of(cls, member_T: Longs, day_T: Longs, values_MT: Longs) -> "TileAxis":
        """Sort tiles given in any order; days are days since 1970-01-01."""
        position_T = member_T * STRETCH + day_T
        order = np.argsort(position_T, kind="stable")
        return cls(position_T[order], values_MT[:, order])

    def window_sums(self, member_Q: Longs, after_Q: Longs, through_Q: Longs) -> Longs:
        """Sums of every measure over the days ``after < d <= through`` of each question's member, [M, Q]."""
        running = np.zeros((len(self.values_MT), self.position_T.size + 1), dtype=np.int64)
        np.cumsum(self.values_MT, axis=1, out=running[:, 1:])
        low = np.searchsorted(self.position_T, member_Q * STRETCH + after_Q, side="right")
        high = np.searchsorted(self.position_T, member_Q * STRETCH + through_Q, side="right")
        return running[:, high] - running[:, low]

    def days(self) -> "TileAxis":
        """The same axis with 1 where a measure is not zero: its sums count days."""
        return TileAxis(self.position_T, (self.values_MT != 0).astype(np.int64))

    def last_and_first(self, measure: int, member_Q: Longs, as_of_Q: Longs) -> tuple[Longs, Longs]:
        """Days from the last, and from the first, tile with a non-zero measure to the as-of date; -1 for none."""
        kept = self.position_T[self.values_MT[measure] != 0]
        start, end = member_Q * STRETCH, member_Q * STRETCH + as_of_Q
        low, high = np.searchsorted(kept, start, side="left"), np.searchsorted(kept, end, side="right")
        padded = np.append(kept, 0)
        none = high <= low
        last = np.where(none, -1, end - padded[np.maximum(high - 1, 0)])
        return last, np.where(none, -1, end - padded[np.minimum(low, kept.size)])


def weekly_sums(axis: TileAxis, member_Q: Longs, as_of_Q: Longs, num_weeks: int) -> Longs:
    """Sums over the last ``num_weeks`` weeks ``(as_of - 7(k+1), as_of - 7k]``, newest first, [M, Q, weeks]."""
    weeks = [axis.window_sums(member_Q, as_of_Q - 7 * (k + 1), as_of_Q - 7 * k) for k in range(num_weeks)]
    return np.stack(weeks, axis=2)


def windowed(axis: TileAxis, member_Q: Longs, as_of_Q: Longs, windows_days: Sequence[int]) -> tuple[Longs, Longs]:
    """Sums and day counts over the lookbacks ``(as_of - N, as_of]``, each [M, windows, Q]."""
    counted = axis.days()
    sums = [axis.window_sums(member_Q, as_of_Q - days, as_of_Q) for days in windows_days]
    counts = [counted.window_sums(member_Q, as_of_Q - days, as_of_Q) for days in windows_days]
    return np.stack(sums, axis=1), np.stack(counts, axis=1)
