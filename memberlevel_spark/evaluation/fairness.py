"""How equally a forecast serves the groups of a protected attribute: level, calibration, and who is called. No Spark.

In: what happened, level forecasts of the same members, and which group a member belongs to. Out: rows of plain values;
``None`` where a number is undefined, never NaN.

Called are the members likeliest to move up, ``call_share`` of all of them. Compared are groups of ``min_members`` and
more, where there are two; the members without a group and those of small groups are shown only.

Shape legend: N members, K levels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

from memberlevel_spark.evaluation.calibration import p_move_up
from memberlevel_spark.evaluation.forecasts import Actuals
from memberlevel_spark.evaluation.inputs import FloatArray, check_same_rows
from memberlevel_spark.evaluation.metrics import level_metrics
from memberlevel_spark.evaluation.slices import MODEL, SMALL, UNKNOWN, Dimension, cells_of

BoolArray = np.ndarray
CELL_METRICS = (
    *("accuracy", "expected_level", "realised_level", "log_loss", "ece"),
    *("called_share", "found_share", "false_share"),
)
DIFFERENCES = (
    *("accuracy", "log_loss", "demographic_parity", "equalised_odds"),
    *("worst_group", "worst_gap", "worst_gap_low", "worst_gap_high"),
)


@dataclass(frozen=True)
class Judging:
    """How groups are judged: members that make a group, share of all that is called, draws of the intervals."""

    min_members: int
    call_share: float
    num_resamples: int
    seed: int


def fairness_record(
    actuals: Actuals, p_level: Mapping[str, FloatArray], attributes: Sequence[Dimension], judging: Judging
) -> dict[str, list[dict[str, Any]]]:
    """Judge forecasters by the groups of every attribute.

    - groups: of the ``model``, one row per attribute and group: members and ``group_metrics``, None for too few.
    - differences: one row per attribute and forecaster, ``between_groups``.

    Raises:
        DataQualityError: an attribute or a forecast has another number of members.
    """
    rows: dict[str, list[dict[str, Any]]] = {"groups": [], "differences": []}
    for attribute in attributes:
        for name, p_level_NK in p_level.items():
            check_same_rows(target=actuals.target_N, group=attribute.part_N, p_level=p_level_NK)
            called_N = likeliest(p_move_up(actuals.level_now_N, p_level_NK), judging.call_share)
            told = {"attribute": attribute.name}
            if name == MODEL:
                rows["groups"] += [
                    told | row for row in _cell_rows(actuals, p_level_NK, called_N, attribute, judging.min_members)
                ]
            found = between_groups(actuals, p_level_NK, called_N, attribute, judging)
            rows["differences"].append(told | {"forecaster": name} | found)
    return rows


def likeliest(p_N: FloatArray, share: float) -> BoolArray:
    """Who is called [N]: the members of the highest probability, ``share`` of all, rounded up.

    Members as likely as the last of them are called too, those who cannot move up never are.
    """
    number = math.ceil(share * len(p_N) - 1e-9)
    return (p_N >= np.partition(p_N, len(p_N) - number)[len(p_N) - number]) & (p_N > 0)


def compared_groups(attribute: Dimension, min_members: int) -> dict[str, BoolArray]:
    """The members [N] of each named group of at least ``min_members``."""
    return {name: kept_N for name, kept_N in cells_of(attribute, min_members) if name not in (SMALL, UNKNOWN)}


def group_metrics(actuals: Actuals, p_level_NK: FloatArray, called_N: BoolArray) -> dict[str, float | None]:
    """The numbers of one group, all of whose members are given.

    - accuracy, log_loss, ece: as in ``level_metrics``.
    - expected_level, realised_level: means of the level numbers, 0 is the lowest.
    - called_share: of all (selection rate); found_share: of those who moved up (true positive rate), None when nobody
      did; false_share: of the others (false positive rate), None when everybody did.
    """
    judged = level_metrics(actuals.target_N, actuals.level_now_N, p_level_NK)
    moved_N = actuals.target_N > actuals.level_now_N
    return {
        "accuracy": judged["accuracy"],
        "expected_level": float((p_level_NK @ np.arange(p_level_NK.shape[1])).mean()),
        "realised_level": float(actuals.target_N.mean()),
        "log_loss": judged["log_loss"],
        "ece": judged["ece"],
        "called_share": share_of(called_N),
        "found_share": share_of(called_N[moved_N]),
        "false_share": share_of(called_N[~moved_N]),
    }


def between_groups(
    actuals: Actuals, p_level_NK: FloatArray, called_N: BoolArray, attribute: Dimension, judging: Judging
) -> dict[str, Any]:
    """``DIFFERENCES`` of one forecaster: what it is worth to all, and how far apart the groups are.

    - accuracy, log_loss: of all members.
    - demographic_parity: largest less smallest ``called_share`` (Fairlearn's demographic parity difference).
    - equalised_odds: the larger of the same of ``found_share`` and of ``false_share`` (its equalized odds difference),
      over the groups in which both are defined.
    - worst_group, worst_gap: the group of the lowest accuracy, and that of all members less its; _low and _high are the
      middle 95 % of it over resamples of members, the group staying the same.
    """
    judged = level_metrics(actuals.target_N, actuals.level_now_N, p_level_NK)
    groups = compared_groups(attribute, judging.min_members)
    moved_N = actuals.target_N > actuals.level_now_N
    both = {name: kept_N for name, kept_N in groups.items() if len(np.unique(moved_N[kept_N])) == 2}
    hit_N = p_level_NK.argmax(axis=1) == actuals.target_N
    return {
        "accuracy": judged["accuracy"],
        "log_loss": judged["log_loss"],
        "demographic_parity": _difference(demographic_parity_difference, moved_N, called_N, groups),
        "equalised_odds": _difference(equalized_odds_difference, moved_N, called_N, both),
        **_worst(hit_N, groups, judging),
    }


def share_of(flag_N: BoolArray) -> float | None:
    """The share of rows with the flag; None without rows."""
    return float(flag_N.mean()) if flag_N.size else None


def _cell_rows(
    actuals: Actuals, p_level_NK: FloatArray, called_N: BoolArray, attribute: Dimension, min_members: int
) -> list[dict[str, Any]]:
    rows = []
    for name, kept_N in cells_of(attribute, min_members):
        shown = kept_N.sum() >= min_members
        found = group_metrics(actuals.of_rows(kept_N), p_level_NK[kept_N], called_N[kept_N]) if shown else {}
        rows.append({"group": name, "members": int(kept_N.sum()), **(dict.fromkeys(CELL_METRICS) | found)})
    return rows


def _difference(between: Any, moved_N: BoolArray, called_N: BoolArray, groups: Mapping[str, BoolArray]) -> float | None:
    if len(groups) < 2:
        return None
    names_N = np.full(len(moved_N), "", dtype=object)
    for name, kept_N in groups.items():
        names_N[kept_N] = name
    kept_N = names_N != ""
    return float(between(moved_N[kept_N], called_N[kept_N], sensitive_features=names_N[kept_N]))


def _worst(hit_N: BoolArray, groups: Mapping[str, BoolArray], judging: Judging) -> dict[str, Any]:
    if len(groups) < 2:
        return dict.fromkeys(("worst_group", "worst_gap", "worst_gap_low", "worst_gap_high"))
    worst = min(groups, key=lambda name: float(hit_N[groups[name]].mean()))
    own_N, num_members = groups[worst], len(hit_N)
    random = np.random.default_rng(judging.seed)
    drawn = [_gap(hit_N[rows], own_N[rows]) for rows in _draws(random, num_members, judging.num_resamples)]
    known = [gap for gap in drawn if gap is not None]
    low, high = np.quantile(known, [0.025, 0.975]).tolist() if known else (None, None)
    return {"worst_group": worst, "worst_gap": _gap(hit_N, own_N), "worst_gap_low": low, "worst_gap_high": high}


def _draws(random: np.random.Generator, num_members: int, num_resamples: int) -> Sequence[np.ndarray]:
    return [random.integers(0, num_members, num_members) for _ in range(num_resamples)]


def _gap(hit_N: BoolArray, own_N: BoolArray) -> float | None:
    """None in a draw without one of the group."""
    return float(hit_N.mean() - hit_N[own_N].mean()) if own_N.any() else None
