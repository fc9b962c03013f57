"""Whom to call: one threshold on P(moves up) for all members, or one per group so that all are found equally. No Spark.

Thresholds are fitted on the validation date and used for lists of members alone: probabilities stay as they are.

In: P(moves up), who moved up and the group of the same members, null for none. Out: thresholds; what they cost.

Shape legend: N members.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from memberlevel_spark.evaluation.fairness import BoolArray, likeliest, share_of
from memberlevel_spark.evaluation.inputs import FloatArray

COMMON, BY_GROUP = "one for all", "one for each group"
# A threshold that no probability reaches.
NOBODY = 2.0


@dataclass(frozen=True)
class CallThresholds:
    """Members with a P(moves up) of at least the threshold of their group are called; ``common`` is that of groups
    which have none of their own, and of members without a group."""

    attribute: str
    common: float
    by_group: Mapping[str, float]

    def called(self, p_up_N: FloatArray, group_N: np.ndarray) -> BoolArray:
        """Who is called [N], by the name of the group; those who cannot move up never are."""
        limit_N = np.array([self.by_group.get(group, self.common) for group in group_N], dtype=np.float64)
        return (p_up_N >= limit_N) & (p_up_N > 0)

    def plain(self) -> dict[str, Any]:
        """As ``evaluation.json`` keeps it."""
        return asdict(self)


def fit_thresholds(
    p_up_N: FloatArray, moved_N: BoolArray, group_N: np.ndarray, *, attribute: str, share: float, min_members: int
) -> CallThresholds:
    """The thresholds by which in each group as large a share of those who moved up is called as in all together.

    ``common`` calls ``share`` of all members. A group's threshold is the highest by which the share of its movers that
    is called (true positive rate) is no smaller than that of all by ``common``; Hardt, Price and Srebro 2016, equality
    of opportunity, without drawing lots. Groups of fewer than ``min_members``, and those of which nobody moved up, have
    none of their own.
    """
    called_N = likeliest(p_up_N, share)
    common = float(p_up_N[called_N].min()) if called_N.any() else NOBODY
    aim = share_of(called_N[moved_N]) or 0.0
    by_group = {}
    for group in sorted({name for name in group_N if name is not None}):
        own_N = group_N == group
        movers = np.sort(p_up_N[own_N & moved_N])[::-1]
        needed = math.ceil(aim * len(movers) - 1e-9)
        if own_N.sum() >= min_members and needed:
            by_group[group] = float(movers[needed - 1])
    return CallThresholds(attribute, common, by_group)


def call_costs(
    thresholds: CallThresholds, p_up_N: FloatArray, moved_N: BoolArray, group_N: np.ndarray
) -> list[dict[str, Any]]:
    """What each rule brings on members that it was not fitted on, one row per rule: one threshold, then by group.

    - called, called_share: the members called; right_share: of them, who moved up (precision), None for an empty list.
    - found_share: of those who moved up, who was called; None when nobody did.
    - found_gap: largest less smallest ``found_share`` of groups with a threshold of their own; None where fewer than
      two of them had movers.
    """
    rules = {COMMON: replace(thresholds, by_group={}), BY_GROUP: thresholds}
    return [
        {"rule": name, **_cost(rule.called(p_up_N, group_N), moved_N, group_N, list(thresholds.by_group))}
        for name, rule in rules.items()
    ]


def _cost(
    called_N: BoolArray, moved_N: BoolArray, group_N: np.ndarray, groups: Sequence[str]
) -> dict[str, float | None]:
    by_group = [share_of(called_N[moved_N & (group_N == group)]) for group in groups]
    known = [share for share in by_group if share is not None]
    return {
        "called": int(called_N.sum()),
        "called_share": share_of(called_N),
        "right_share": share_of(moved_N[called_N]),
        "found_share": share_of(called_N[moved_N]),
        "found_gap": max(known) - min(known) if len(known) > 1 else None,
    }
