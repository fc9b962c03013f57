"""Statistics over the active days of a measure: the days with a tile on which the measure is not zero.

Shapes: A active days of the batch, ascending by member and day; W active weeks; Q questions. A span is each question's
``[low, high)`` among the A active days. Everything is an exact integer until the last step of each question.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from memberlevel_spark.features.kernel_axes import Doubles, Longs
from memberlevel_spark.features.kernel_ranges import (
    RangeExtremes,
    as_doubles,
    divided,
    nullable,
    running_sums,
)

# Squares of values up to 2^40 do not fit int64: a value is split at this bit, x = high x 2^21 + low.
LIMB_BITS = 21
# Below this a sum of squares modulo 2^64 is the sum itself.
EXACT_BELOW = 2.0**62


class ActiveDays:
    """The tiles on which one measure is not zero."""

    def __init__(self, position_T: Longs, values_T: Longs) -> None:
        self.tile_A = np.flatnonzero(values_T)
        self.position_A, self.value_A = position_T[self.tile_A], values_T[self.tile_A]
        self.rank_T = running_sums((values_T != 0).astype(np.int64))

    @cached_property
    def smallest(self) -> RangeExtremes:
        """Range minima of the values."""
        return RangeExtremes(self.value_A, np.minimum)

    @cached_property
    def largest(self) -> RangeExtremes:
        """Range maxima of the values."""
        return RangeExtremes(self.value_A, np.maximum)

    @cached_property
    def gap_squares(self) -> Longs:
        """Running sums of the squared days since the active day before, [A + 1].

        The step from one member to the next is among them, but never inside a range that is asked for.
        """
        gap_A = np.diff(self.position_A, prepend=self.position_A[:1])
        return running_sums(gap_A * gap_A)

    @cached_property
    def limb_sums(self) -> Longs:
        """Running sums of high, low, high², high x low and low² of the values, [5, A + 1]."""
        high_A, low_A = _limbs(self.value_A)
        series = (high_A, low_A, high_A * high_A, high_A * low_A, low_A * low_A)
        return np.stack([running_sums(values_A) for values_A in series])


@dataclass(frozen=True)
class Span:
    """The active days of one measure inside every question's window."""

    active: ActiveDays
    low_Q: Longs
    high_Q: Longs
    position_Q: Longs  # of the as-of dates

    @property
    def count_Q(self) -> Longs:
        """Number of active days."""
        return self.high_Q - self.low_Q

    @property
    def none_Q(self) -> np.ndarray:
        """Whether a question has no active day."""
        return self.low_Q == self.high_Q

    def first(self, series_A: Longs) -> Longs:
        """A series on the first active day of the window; any number where there is none."""
        return np.append(series_A, 0)[self.low_Q]

    def last(self, series_A: Longs) -> Longs:
        """A series on the last active day of the window; any number where there is none."""
        return np.append(series_A, 0)[np.maximum(self.high_Q - 1, 0)]

    def days_between(self) -> Longs:
        """Days from the first to the last active day of the window; any number where there is none."""
        return self.last(self.active.position_A) - self.first(self.active.position_A)


def smallest(span: Span) -> np.ma.MaskedArray:
    """Smallest value of an active day; null without one."""
    return nullable(span.active.smallest.over(span.low_Q, span.high_Q), span.none_Q)


def largest(span: Span) -> np.ma.MaskedArray:
    """Largest value of an active day; null without one."""
    return nullable(span.active.largest.over(span.low_Q, span.high_Q), span.none_Q)


def last_value(span: Span) -> np.ma.MaskedArray:
    """Value of the last active day; null without one."""
    return nullable(span.last(span.active.value_A), span.none_Q)


def days_since_last(span: Span) -> np.ma.MaskedArray:
    """Days from the last active day to the as-of date, 0 when it is that date; null without one."""
    return nullable(span.position_Q - span.last(span.active.position_A), span.none_Q)


def days_since_first(span: Span) -> np.ma.MaskedArray:
    """Days from the first active day to the as-of date; null without one. The T of the BTYD models."""
    return nullable(span.position_Q - span.first(span.active.position_A), span.none_Q)


def deviation(span: Span) -> Doubles:
    """Population standard deviation of the values of the active days; null without one, 0 for one.

    With r the mean rounded to an integer: variance = sum (x - r)² / n - (mean - r)², so nothing large cancels. The sum
    of squares is put together from two limbs: below 2^62 exactly, above with the relative error of a double.
    """
    high_Q, low_Q, hh_Q, hl_Q, ll_Q = (sums_A[span.high_Q] - sums_A[span.low_Q] for sums_A in span.active.limb_sums)
    num_Q = np.maximum(span.count_Q, 1)
    sum_Q = high_Q * (1 << LIMB_BITS) + low_Q
    centre_Q = (2 * sum_Q + num_Q) // (2 * num_Q)
    a_Q, b_Q = _limbs(centre_Q)
    hh_Q = hh_Q - 2 * a_Q * high_Q + num_Q * a_Q * a_Q
    hl_Q = hl_Q - a_Q * low_Q - b_Q * high_Q + num_Q * a_Q * b_Q
    ll_Q = ll_Q - 2 * b_Q * low_Q + num_Q * b_Q * b_Q
    about_Q = hh_Q * 2.0 ** (2 * LIMB_BITS) + hl_Q * 2.0 ** (LIMB_BITS + 1) + ll_Q
    exact_Q = hh_Q * (1 << 2 * LIMB_BITS) + hl_Q * (1 << (LIMB_BITS + 1)) + ll_Q
    squares_Q = np.where(about_Q < EXACT_BELOW, exact_Q, about_Q)
    rest_Q = as_doubles(sum_Q - num_Q * centre_Q)
    variance_Q = (num_Q * squares_Q - rest_Q * rest_Q) / as_doubles(num_Q * num_Q)
    return np.where(span.none_Q, np.nan, np.sqrt(np.maximum(variance_Q, 0.0)))


def gap_mean(span: Span) -> Doubles:
    """Mean days between one active day and the next; null with fewer than two."""
    return divided(span.days_between(), span.count_Q - 1)


def gap_deviation(span: Span) -> Doubles:
    """Population standard deviation of the days between one active day and the next; null with fewer than two."""
    num_Q = span.count_Q - 1
    none_Q = num_Q < 1
    between_Q = np.where(none_Q, 0, span.days_between())
    squares = span.active.gap_squares
    # The gap before the first active day of the window reaches out of it.
    squares_Q = np.where(none_Q, 0, squares[span.high_Q] - squares[np.minimum(span.low_Q + 1, squares.size - 1)])
    spread_Q = num_Q * squares_Q - between_Q * between_Q
    return np.sqrt(as_doubles(spread_Q)) / as_doubles(np.where(none_Q, 1, num_Q), none_Q)


def repeat_days(span: Span) -> np.ma.MaskedArray:
    """Active days after the first; null without any. The x of the BTYD models.

    Source: Fader and Hardie, Implementing the BG/NBD Model for Customer Base Analysis in Excel (2005), with days on
    which something was bought for transactions.
    """
    return nullable(span.count_Q - 1, span.none_Q)


def first_to_last_days(span: Span) -> np.ma.MaskedArray:
    """Days from the first to the last active day; null without any. The t_x of the BTYD models."""
    return nullable(span.days_between(), span.none_Q)


def repeat_mean(span: Span, values_T: Longs) -> Doubles:
    """Mean of another measure over the active days after the first; null without any of those.

    The monetary value of the gamma-gamma model: Fader and Hardie, The Gamma-Gamma Model of Monetary Value (2013).
    """
    running = running_sums(values_T[span.active.tile_A])
    second_Q = np.minimum(span.low_Q + 1, running.size - 1)
    return divided(running[span.high_Q] - running[second_Q], span.count_Q - 1)


def _limbs(values_N: Longs) -> tuple[Longs, Longs]:
    """High and low limb; the low one is never negative."""
    return values_N >> LIMB_BITS, values_N & ((1 << LIMB_BITS) - 1)
