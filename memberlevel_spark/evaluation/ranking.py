"""How well a score orders members: lift, the share captured by the first ones, and the curve of it. No Spark.

In: one score per member, and what is to be found among them: an event (0 or 1) or an amount. Out: numbers and curves;
``None`` where there is nothing to find.

Members of equal score share their mean: it is what an order among them drawn by lot gives on average.
Shape legend: N members, P points of a curve.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics as sk

from memberlevel_spark.evaluation.inputs import FloatArray, check_same_rows

LIFT_SHARES = (0.01, 0.05, 0.10)
CURVE_STEPS = 40


def event_metrics(event: str, happened_N: ArrayLike, p_N: ArrayLike) -> dict[str, float | None]:
    """AUC, average precision, and the lift in the first 1, 5 and 10 %, as ``<event>_auc``, ``_ap``, ``_lift_1``, ….

    All None when it happened to nobody, or to everybody: there is no order to judge.
    """
    happened, p = np.asarray(happened_N, dtype=np.float64), np.asarray(p_N, dtype=np.float64)
    one_class = np.unique(happened).size < 2
    found = {
        f"{event}_auc": None if one_class else float(sk.roc_auc_score(happened, p)),
        f"{event}_ap": None if one_class else float(sk.average_precision_score(happened, p)),
    }
    lifts = {
        f"{event}_lift_{round(100 * share)}": None if one_class else lift(happened, p, share) for share in LIFT_SHARES
    }
    return found | lifts


def lift(happened_N: ArrayLike, score_N: ArrayLike, share: float) -> float | None:
    """How many times as often it happened among the ``share`` of members with the highest scores as among all.

    ``share`` of N is rounded to whole members, one at least. None when it happened to nobody.
    """
    captured = captured_share(happened_N, score_N, share)
    num_members = len(np.asarray(score_N))
    return None if captured is None else captured * num_members / _num_first(num_members, share)


def captured_share(amount_N: ArrayLike, score_N: ArrayLike, share: float) -> float | None:
    """The share of the whole amount that the ``share`` of members with the highest scores has.

    ``share`` of N is rounded to whole members, one at least. None when the whole is not above 0.
    """
    captured_N1 = _captured(amount_N, score_N)
    return None if captured_N1 is None else float(captured_N1[_num_first(len(captured_N1) - 1, share)])


def gain_curve(amount_N: ArrayLike, score_N: ArrayLike) -> dict[str, Any]:
    """Cumulative gain and lift over the members by descending score, as ``{contacted, captured, lift}``, each [P].

    ``contacted`` is the share of members so far, in at most 41 steps from 0 to 1; ``captured`` the share of the amount
    they have; ``lift`` the one over the other, None where nobody is contacted. Without anything to capture, captured
    and lift are None.
    """
    num_members = len(np.asarray(score_N))
    first_P = np.unique(np.linspace(0, num_members, CURVE_STEPS + 1).round().astype(np.int64))
    contacted = (first_P / num_members).tolist()
    captured_N1 = _captured(amount_N, score_N)
    if captured_N1 is None:
        return {"contacted": contacted, "captured": None, "lift": None}
    captured = captured_N1[first_P].tolist()
    lifts = [y / x if x else None for x, y in zip(contacted, captured, strict=True)]
    return {"contacted": contacted, "captured": captured, "lift": lifts}


def shared_over_ties(amount_N: FloatArray, score_N: FloatArray) -> FloatArray:
    """Each member's amount [N], those of equal score having their mean."""
    _, tie_N = np.unique(score_N, return_inverse=True)
    shared_N: FloatArray = (np.bincount(tie_N, weights=amount_N) / np.bincount(tie_N))[tie_N]
    return shared_N


def _captured(amount_N: ArrayLike, score_N: ArrayLike) -> FloatArray | None:
    """Share of the whole that the first 0, 1, …, N members have, [N + 1]."""
    amount, score = np.asarray(amount_N, dtype=np.float64), np.asarray(score_N, dtype=np.float64)
    check_same_rows(amount=amount, score=score)
    if amount.sum() <= 0:
        return None
    ordered_N = shared_over_ties(amount, score)[np.argsort(-score, kind="stable")]
    sums_N1: FloatArray = np.concatenate([[0.0], np.cumsum(ordered_N)])
    return sums_N1 / sums_N1[-1]


def _num_first(num_members: int, share: float) -> int:
    return max(1, round(share * num_members))
