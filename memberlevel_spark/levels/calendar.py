"""The calendar of a programme for a batch of members: window starts, how long a level is earned, review days.

Days are numbers (days since 1970-01-01). What depends on the member, by anniversaries, comes as an array [M], what is
the same for all as one number. Shapes: M members, Y their years.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.timeline import MONTHS_OF, anniversary, date_of, day_number, period_start

Longs = NDArray[np.int64]
Bools = NDArray[np.bool_]
ONE_YEAR = 366


class ProgrammeCalendar:
    """Dates of one programme for members known since ``known_M``, for days up to ``last_day``."""

    def __init__(self, config: LevelsConfig, known_M: Longs, last_day: int) -> None:
        self.config = config
        uses_anniversaries = "anniversary" in (config.counted.period, config.review.every)
        self.anniversary_YM = _anniversaries(known_M, last_day) if uses_anniversaries else np.zeros((0, 0), np.int64)

    def window_start(self, day: int) -> int | Longs:
        """First day of the window that ends on a day."""
        window = self.config.counted
        if window.days is not None:
            return day - window.days + 1
        if window.period == "anniversary":
            return self._anniversary(day, 0)
        return _period_start(day, window.period or "", 0)

    def earned_through(self, day: int) -> int | Longs:
        """Last day through which a level reached on a day is earned."""
        kept, period = self.config.kept_for, self.config.counted.period
        if kept.periods is None or period is None:
            return day + (kept.days or 0)
        if period == "anniversary":
            return self._anniversary(day, kept.periods + 1) - 1
        return _period_start(day, period, kept.periods + 1) - 1

    def is_review(self, day: int) -> bool | Bools:
        """Whether members may fall on a day."""
        review = self.config.review
        if review.every == "anniversary":
            return self._anniversary(day, 0) == day
        date = date_of(day)
        if review.every == "day":
            return True
        return date.day == review.day and (date.month - review.month) % MONTHS_OF[review.every] == 0

    def next_review(self, day: int) -> int | Longs:
        """The first review day after a day."""
        if self.config.review.every == "anniversary":
            return self._anniversary(day, 1)
        return next(later for later in range(day + 1, day + ONE_YEAR + 2) if self.is_review(later))

    def _anniversary(self, day: int, later: int) -> Longs:
        """The last anniversary on or before a day, or one ``later`` years after it; the first known day is one."""
        passed_M = np.maximum((self.anniversary_YM <= day).sum(axis=0) - 1, 0)
        return np.take_along_axis(self.anniversary_YM, (passed_M + later)[None, :], axis=0)[0]


def _anniversaries(known_M: Longs, last_day: int) -> Longs:
    """Every anniversary up to some years after ``last_day``, ascending; [Y, M]."""
    days, member_of_day = np.unique(known_M, return_inverse=True)
    num_years = 12 + max((last_day - int(days[0])) // 365, 0) if days.size else 1
    years = [[day_number(anniversary(date_of(int(day)), year)) for day in days] for year in range(num_years)]
    return np.asarray(years, dtype=np.int64).reshape(num_years, days.size)[:, member_of_day]


@cache
def _period_start(day: int, period: str, later: int) -> int:
    return day_number(period_start(date_of(day), period, later))
