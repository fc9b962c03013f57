"""Where members stand on as-of dates: metrics now and carried over, the level if nothing more happens, days to review.

Shapes: Q questions (as-of dates x members), X metrics, M members. The caller keeps the questions of members who were
known on the date.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memberlevel_spark.levels.calendar import Longs
from memberlevel_spark.levels.engine import Assignments, Earning


@dataclass(frozen=True)
class Standing:
    """One as-of date, all members of the batch."""

    metrics_now_XM: Longs
    carry_over_XM: Longs
    level_if_idle_M: Longs
    days_to_review_M: Longs


def standings(
    earning: Earning, assignments: Assignments, own_AM: Longs, as_of_days: Sequence[int], *, reach_days: int
) -> list[Standing]:
    """One per as-of date, in the given ascending order.

    ``own_AM`` are the own levels on each of them; ``earning`` is new. Days before the first as-of date are seen as far
    as they matter; tiles after an as-of date are never looked at for it.
    """
    day = as_of_days[0] - earning.rules.memory_days
    found = []
    for as_of, own_M in zip(as_of_days, own_AM, strict=True):
        for seen in range(day, as_of + 1):
            earning.see(seen)
        day = as_of + 1
        found.append(_standing(earning, assignments, own_M, as_of, reach_days))
    return found


def _standing(earning: Earning, assignments: Assignments, own_M: Longs, as_of: int, reach_days: int) -> Standing:
    label_day = as_of + reach_days
    ahead = earning.copy()
    for day in range(as_of + 1, label_day + 1):
        ahead.see(day, known_through=as_of)
        own_M = ahead.step(own_M, day)
    return Standing(
        metrics_now_XM=earning.values(as_of),
        carry_over_XM=earning.values(label_day, known_through=as_of),
        level_if_idle_M=assignments.shown(own_M, label_day, begun_by=as_of),
        days_to_review_M=np.broadcast_to(earning.calendar.next_review(as_of) - as_of, own_M.shape),
    )
