"""Runs of active weeks: the weeks are the seven days that end with the as-of date, the seven before them, and so on.

Weeks hang on the as-of date, so the as-of dates of one weekday share them: as-of date = 7 x week + residue.
Shapes: W active weeks of the batch (ascending by member and week), Q questions of one residue.
"""

from dataclasses import dataclass

import numpy as np

from memberlevel_spark.features.kernel_active import ActiveDays
from memberlevel_spark.features.kernel_axes import STRETCH, Longs, Questions
from memberlevel_spark.features.kernel_ranges import RangeExtremes

WEEK_DAYS = 7


@dataclass(frozen=True)
class ActiveWeeks:
    """Weeks with an active day, and the run of consecutive ones each belongs to."""

    position_W: Longs  # member index x STRETCH + week
    run_low_W: Longs
    run_high_W: Longs

    @classmethod
    def of(cls, active: ActiveDays, residue: int) -> "ActiveWeeks":
        """The weeks that end on days with this residue modulo 7."""
        day_A = active.position_A % STRETCH
        start_A = active.position_A - day_A
        position_A = start_A + (day_A - residue + WEEK_DAYS - 1) // WEEK_DAYS
        position_W = position_A[np.diff(position_A, prepend=-1) != 0]
        begins_W = np.diff(position_W, prepend=-2) != 1
        run_low = np.flatnonzero(begins_W)
        run_W = np.cumsum(begins_W) - 1
        return cls(position_W, run_low[run_W], np.append(run_low, position_W.size)[run_W + 1])


def streaks(active: ActiveDays, asked: Questions, *, num_weeks: int | None, longest: bool) -> Longs:
    """Weeks of the run that ends with the as-of date's week (0 when that one is silent), or of the longest run, [Q].

    Only the last ``num_weeks`` weeks count; None: all of them.
    """
    answer_Q = np.zeros(asked.as_of_Q.size, dtype=np.int64)
    residue_Q = asked.as_of_Q % WEEK_DAYS
    for residue in np.unique(residue_Q).tolist():
        these_Q = residue_Q == residue
        weeks = ActiveWeeks.of(active, residue)
        start_Q = asked.start_Q[these_Q]
        now_Q = start_Q + asked.as_of_Q[these_Q] // WEEK_DAYS
        before_Q = start_Q - 1 if num_weeks is None else now_Q - num_weeks
        low_Q = np.searchsorted(weeks.position_W, before_Q, side="right")
        high_Q = np.searchsorted(weeks.position_W, now_Q, side="right")
        answer = _longest if longest else _current
        answer_Q[these_Q] = answer(weeks, low_Q, high_Q, now_Q=now_Q)
    return answer_Q


def _current(weeks: ActiveWeeks, low_Q: Longs, high_Q: Longs, *, now_Q: Longs) -> Longs:
    last_Q = np.maximum(high_Q - 1, 0)
    is_now_Q = np.append(weeks.position_W, -1)[last_Q] == now_Q
    return np.where(is_now_Q, high_Q - np.maximum(np.append(weeks.run_low_W, 0)[last_Q], low_Q), 0)


def _longest(weeks: ActiveWeeks, low_Q: Longs, high_Q: Longs, *, now_Q: Longs) -> Longs:
    """The run the window cuts at its beginning, or the longest of those that begin inside."""
    cut_Q = np.minimum(np.append(weeks.run_high_W, 0)[low_Q], high_Q)
    so_far_W = np.arange(weeks.position_W.size, dtype=np.int64) - weeks.run_low_W + 1
    inside_Q = RangeExtremes(so_far_W, np.maximum).over(cut_Q, high_Q)
    return np.where(low_Q < high_Q, np.maximum(cut_Q - low_Q, inside_Q), 0)
