"""Answers over ranges ``[low, high)`` of a series, for all questions at once and exact: all arithmetic is int64.

A running sum may wrap around int64 over a large batch; the difference of two of its elements is still exact as long as
the sum of the range itself fits. So no answer depends on which other members share the batch.
Shapes: N elements of a series, Q questions.
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

import numpy as np

from memberlevel_spark.features.kernel_axes import Doubles, Longs, Questions

Made = TypeVar("Made")


def running_sums(values_N: Longs) -> Longs:
    """Sums of the first 0 … N values, along the first axis, [N + 1]."""
    running = np.zeros((len(values_N) + 1, *values_N.shape[1:]), dtype=np.int64)
    np.cumsum(values_N, axis=0, out=running[1:])
    return running


def as_doubles(values_Q: Longs, null_Q: np.ndarray | None = None) -> Doubles:
    """The values as float64, NaN where null."""
    doubles_Q = values_Q.astype(np.float64)
    return doubles_Q if null_Q is None else np.where(null_Q, np.nan, doubles_Q)


def nullable(values_Q: Longs, null_Q: np.ndarray) -> np.ma.MaskedArray:
    """Integers of which some are null: 0 under the mask, so that equal answers have equal bytes."""
    return np.ma.MaskedArray(np.where(null_Q, 0, values_Q), mask=null_Q)


def divided(above_Q: Longs, below_Q: Longs) -> Doubles:
    """``above / below``, NaN where ``below`` is not positive."""
    none_Q = below_Q <= 0
    return as_doubles(above_Q) / as_doubles(np.where(none_Q, 1, below_Q), none_Q)


class Ends:
    """Where the windows of all questions begin and end on one axis; each end is looked up once."""

    def __init__(self, position_N: Longs, asked: Questions) -> None:
        self._position_N, self._asked, self._found = position_N, asked, dict[int | None, Longs]()

    def through(self, days_back: int | None) -> Longs:
        """How many elements lie at or before ``as_of - days_back``; None: before the member's first, [Q]."""
        return remembered(self._found, days_back, lambda: self._look_up(days_back))

    def _look_up(self, days_back: int | None) -> Longs:
        if days_back is None:
            return np.searchsorted(self._position_N, self._asked.start_Q, side="left")
        return np.searchsorted(self._position_N, self._asked.position_Q - days_back, side="right")


class RangeExtremes:
    """Smallest or largest value of any range by a sparse table: two overlapping powers of two cover every range.

    Source: Bender and Farach-Colton, The LCA Problem Revisited (2000), section 3.
    """

    def __init__(self, values_N: Longs, better: np.ufunc) -> None:
        self._better = better
        self._levels: list[Longs] = [np.append(values_N, 0)]

    def over(self, low_Q: Longs, high_Q: Longs) -> Longs:
        """The extreme of each ``[low, high)``, 0 for an empty range, [Q]."""
        size_Q = np.maximum(high_Q - low_Q, 0)
        level_Q = np.maximum(np.frexp(size_Q)[1].astype(np.int64) - 1, 0)
        table_KN = self._table(int(level_Q.max(initial=0)))
        empty_Q = size_Q == 0
        first_Q = np.where(empty_Q, 0, low_Q)
        second_Q = np.where(empty_Q, 0, high_Q - (1 << level_Q))
        found_Q = self._better(table_KN[level_Q, first_Q], table_KN[level_Q, second_Q])
        return np.where(empty_Q, 0, found_Q)

    def _table(self, level: int) -> Longs:
        """Row k holds the extreme of the 2^k values from each element on; the last of a row are never asked for."""
        while len(self._levels) <= level:
            below, half = self._levels[-1], 1 << (len(self._levels) - 1)
            row = below.copy()
            row[:-half] = self._better(below[:-half], below[half:])
            self._levels.append(row)
        return np.stack(self._levels)


def remembered(cache: dict, key: Hashable, make: Callable[[], Made]) -> Made:
    """The value made for this key, made now when it is the first time."""
    if key not in cache:
        cache[key] = make()
    return cache[key]
