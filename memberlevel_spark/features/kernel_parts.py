"""How a measure is spread over weekdays or categories, how many different items there were, and the calendar.

Only positive values have a share (a refund is no purchase on another weekday), so shares lie in 0 … 1 and sum to 1.
Shapes: R rows, C parts (7 weekdays, or the categories), I item rows, Q questions, H holidays.
"""

from calendar import isleap
from collections.abc import Callable
from datetime import date
from math import cos, pi, sin

import numpy as np

from memberlevel_spark.features.kernel_axes import Doubles, ItemAxis, Longs, Questions
from memberlevel_spark.features.kernel_ranges import as_doubles, divided, nullable, running_sums
from memberlevel_spark.features.meanings import WEEKDAYS
from memberlevel_spark.timeline import date_of

NUM_WEEKDAYS = len(WEEKDAYS)
SATURDAY = WEEKDAYS.index("saturday")


def weekday_of(day_N: Longs) -> Longs:
    """0 for Monday … 6 for Sunday; 1970-01-01 was a Thursday."""
    return (day_N + 3) % NUM_WEEKDAYS


def running_parts(part_R: Longs, value_R: Longs, *, num_parts: int) -> Longs:
    """Running sums of the positive values of every part, [R + 1, C]."""
    values_RC = np.zeros((part_R.size, num_parts), dtype=np.int64)
    values_RC[np.arange(part_R.size), part_R] = np.maximum(value_R, 0)
    return running_sums(values_RC)


def share(parts_QC: Longs, first: int, through: int) -> Doubles:
    """Share of the parts ``first`` … ``through``; null when nothing is positive."""
    return divided(parts_QC[:, first : through + 1].sum(axis=1), parts_QC.sum(axis=1))


def entropy(parts_QC: Longs) -> Doubles:
    """Shannon entropy of the shares, -sum p ln p, in nats: 0 when all is in one part; null when nothing is positive."""
    total_Q = parts_QC.sum(axis=1)
    entropy_Q = np.zeros(total_Q.size, dtype=np.float64)
    for part in range(parts_QC.shape[1]):
        share_Q = as_doubles(parts_QC[:, part]) / as_doubles(np.maximum(total_Q, 1))
        entropy_Q -= share_Q * np.log(np.where(share_Q > 0, share_Q, 1.0))
    return np.where(total_Q > 0, entropy_Q, np.nan)


def top(parts_QC: Longs, place: int) -> np.ma.MaskedArray:
    """Index of the part in a place by size, 0 the largest; of equal ones the lowest index is first. Null when it is not
    positive."""
    part_Q = np.argsort(-parts_QC, axis=1, kind="stable")[:, place].astype(np.int64)
    return nullable(part_Q, np.take_along_axis(parts_QC, part_Q[:, None], axis=1)[:, 0] <= 0)


def num_distinct(axis: ItemAxis, asked: Questions, *, window_days: int | None) -> Longs:
    """Number of different items met in ``(as_of - N, as_of]``, None for all days up to the as-of date, [Q].

    A meeting is the last one of its item from its day until the next meeting, and in the window for N days. Each
    as-of date counts the meetings for which both hold: those begun by then, minus those ended by then.
    """
    ends_I = axis.next_I if window_days is None else np.minimum(axis.next_I, axis.position_I + window_days)
    begun_Q = np.searchsorted(axis.position_I, asked.position_Q, side="right")
    return begun_Q - np.searchsorted(np.sort(ends_I), asked.position_Q, side="right")


def season(as_of_Q: Longs, *, cosine: bool) -> Doubles:
    """Sine or cosine of the day's place in its year, 1 January at angle 0, [Q]."""
    wave = cos if cosine else sin

    def of_day(day: date) -> float:
        return wave(2 * pi * (day.timetuple().tm_yday - 1) / (366 if isleap(day.year) else 365))

    return _per_date(as_of_Q, of_day)


def month(as_of_Q: Longs) -> Longs:
    """1 for January … 12 for December, [Q]."""
    return _per_date(as_of_Q, lambda day: day.month).astype(np.int64)


def days_to_holiday(as_of_Q: Longs, holidays_H: Longs) -> np.ma.MaskedArray:
    """Days from the as-of date to the next holiday, 0 on one; null after the last one given, [Q]."""
    ascending_H = np.sort(holidays_H)
    next_Q = np.searchsorted(ascending_H, as_of_Q, side="left")
    return nullable(np.append(ascending_H, 0)[next_Q] - as_of_Q, next_Q == ascending_H.size)


def _per_date(as_of_Q: Longs, of_day: Callable[[date], float]) -> Doubles:
    """One value per different date: a batch has many questions and few dates."""
    days, which_Q = np.unique(as_of_Q, return_inverse=True)
    return np.array([of_day(date_of(day)) for day in days.tolist()], dtype=np.float64)[which_Q]
