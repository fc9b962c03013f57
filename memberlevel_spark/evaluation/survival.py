"""How long a state lasts, with those whose end nobody has seen yet: the Kaplan-Meier estimate; no Spark.

In: numbers of spells by length, ended or not. Out: steps of the share that lasts longer.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Step(NamedTuple):
    """From this day on ``share`` of the spells last longer."""

    days: int
    share: float


def kaplan_meier(ended: Mapping[int, int], ongoing: Mapping[int, int]) -> list[Step]:
    """The product-limit estimate (Kaplan and Meier 1958): a step at day 0 and at every day on which spells ended.

    ``ended``: spells by their days; ``ongoing``: those that last longer than so many days, nobody knows how much.
    """
    share, steps = 1.0, [Step(0, 1.0)]
    at_risk = sum(ended.values()) + sum(ongoing.values())
    for days in sorted({*ended, *ongoing}):
        if ended.get(days, 0):
            share *= 1 - ended[days] / at_risk
            steps.append(Step(days, share))
        at_risk -= ended.get(days, 0) + ongoing.get(days, 0)
    return steps


def median_days(steps: list[Step]) -> int | None:
    """The first day from which on at most half of the spells last longer; None where that was never seen."""
    return next((step.days for step in steps if step.share <= 0.5), None)
