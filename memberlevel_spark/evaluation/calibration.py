"""Do the probabilities mean what they say: calibration errors and the points of a calibration curve.

In: realised levels and level probabilities of the same members. Out: one error, or one point per probability bin.

All bins have equal width and are closed on the right, (a, b], the first one also holding 0, as in Guo et al. 2017
and in scikit-learn's ``calibration_curve``. Shape legend: N members, K levels, B bins.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.inputs import (
    FloatArray,
    IntArray,
    check_same_rows,
    checked_levels,
    checked_probabilities,
)

MOVES_UP = "moves_up"
ALL_LEVELS = "all_levels"
CHURNS = "churns"


def top_label_ece(target_N: ArrayLike, p_level_NK: ArrayLike, *, bins: int = 15) -> float:
    """Calibration error of the most likely level: row-weighted mean over bins of |mean confidence − accuracy|.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", expected calibration error.
    In [0, 1], 0 is best. Ties go to the lower level.

    Raises:
        DataQualityError: the inputs break a rule of ``inputs``, or bins is below 1.
    """
    target_N, p_NK = _checked_pair(target_N, p_level_NK)
    hit_N = p_NK.argmax(axis=1) == target_N
    return _binned_gap(p_NK.max(axis=1), hit_N, bins)


def classwise_ece(target_N: ArrayLike, p_level_NK: ArrayLike, *, bins: int = 15) -> float:
    """Calibration error of every level: mean over K of Σ_b n_b/N · |mean probability_b − observed share_b|.

    Source: Nixon et al. 2019, "Measuring Calibration in Deep Learning", static calibration error (SCE).
    In [0, 1], 0 is best. All K levels count, also one that nobody holds: mass wrongly given to it is an error.

    Raises:
        DataQualityError: the inputs break a rule of ``inputs``, or bins is below 1.
    """
    target_N, p_NK = _checked_pair(target_N, p_level_NK)
    gaps_K = [_binned_gap(p_NK[:, level], target_N == level, bins) for level in range(p_NK.shape[1])]
    return float(np.mean(gaps_K))


def event_ece(happened_N: ArrayLike, p_N: FloatArray, *, bins: int = 15) -> float:
    """Calibration error of one event: Σ_b n_b/N · |mean probability_b − observed share_b|, in [0, 1], 0 is best.

    Raises:
        DataQualityError: bins is below 1.
    """
    return _binned_gap(p_N, happened_N, bins)


def reliability(
    target_N: ArrayLike, p_level_NK: ArrayLike, *, level_now_N: ArrayLike | None = None, bins: int = 10
) -> list[dict[str, Any]]:
    """Points of the calibration curves, as ``{event, confidence, observed, count}``, one per non-empty bin.

    event ``moves_up`` (only with ``level_now_N``): the member holds a higher level than now; one value per member.
    event ``all_levels``: "this member holds this level", pooled over all K levels; K values per member.
    confidence is the mean probability in the bin, observed the share in which the event happened, both in [0, 1].

    Raises:
        DataQualityError: the inputs break a rule of ``inputs``, or bins is below 1.
    """
    target_N, p_NK = _checked_pair(target_N, p_level_NK)
    num_levels = p_NK.shape[1]
    points: list[dict[str, Any]] = []
    if level_now_N is not None:
        now_N = checked_levels("level_now", level_now_N, num_levels=num_levels)
        check_same_rows(target=target_N, level_now=now_N)
        points += _curve(MOVES_UP, p_move_up(now_N, p_NK), target_N > now_N, bins)
    held_NK = target_N[:, np.newaxis] == np.arange(num_levels)
    return points + _curve(ALL_LEVELS, p_NK.ravel(), held_NK.ravel(), bins)


def churn_reliability(churned_N: ArrayLike, p_churn_N: ArrayLike, *, bins: int = 10) -> list[dict[str, Any]]:
    """Points of the calibration curve of P(no order), as ``reliability`` gives them; event ``churns``.

    Raises:
        DataQualityError: different numbers of rows, or bins is below 1.
    """
    churned, p_N = np.asarray(churned_N, dtype=np.float64), np.asarray(p_churn_N, dtype=np.float64)
    check_same_rows(churned=churned, p_churn=p_N)
    return _curve(CHURNS, p_N, churned, bins)


def p_move_up(level_now_N: IntArray, p_level_NK: FloatArray) -> FloatArray:
    """Return P(moves up) [N]: the probability mass above the level held now; 0 for members of the top level."""
    above_NK = np.arange(p_level_NK.shape[1]) > level_now_N[:, np.newaxis]
    p_up_N: FloatArray = np.where(above_NK, p_level_NK, 0.0).sum(axis=1)
    return p_up_N


def p_move_down(level_now_N: IntArray, p_level_NK: FloatArray) -> FloatArray:
    """Return P(moves down) [N]: the probability mass below the level held now; 0 for members of the lowest level."""
    below_NK = np.arange(p_level_NK.shape[1]) < level_now_N[:, np.newaxis]
    p_down_N: FloatArray = np.where(below_NK, p_level_NK, 0.0).sum(axis=1)
    return p_down_N


def _checked_pair(target_N: ArrayLike, p_level_NK: ArrayLike) -> tuple[IntArray, FloatArray]:
    p_NK = checked_probabilities(p_level_NK)
    checked_N = checked_levels("target", target_N, num_levels=p_NK.shape[1])
    check_same_rows(target=checked_N, p_level=p_NK)
    return checked_N, p_NK


def _binned_gap(p_N: FloatArray, happened_N: ArrayLike, bins: int) -> float:
    """Σ_b n_b/N · |mean p_b − share_b|, which is Σ_b |Σ p − Σ happened| / N: the bin's size cancels."""
    _, p_sum_B, happened_sum_B = _bin_sums(p_N, happened_N, bins)
    return float(np.abs(p_sum_B - happened_sum_B).sum() / len(p_N))


def _curve(event: str, p_N: FloatArray, happened_N: ArrayLike, bins: int) -> list[dict[str, Any]]:
    sums = zip(*_bin_sums(p_N, happened_N, bins), strict=True)
    return [
        {"event": event, "confidence": float(p_sum / count), "observed": float(hits / count), "count": int(count)}
        for count, p_sum, hits in sums
        if count
    ]


def _bin_sums(p_N: FloatArray, happened_N: ArrayLike, bins: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows, sum of probabilities and number of events per bin, each [B]."""
    if bins < 1:
        raise DataQualityError(f"A calibration needs at least one bin: {bins}. Pass bins of 1 or more.")
    inner_edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    bin_N = np.searchsorted(inner_edges, p_N, side="left")
    happened = np.asarray(happened_N, dtype=np.float64)
    count_B, p_sum_B, happened_B = (
        np.bincount(bin_N, weights=weights, minlength=bins).astype(np.float64) for weights in (None, p_N, happened)
    )
    return count_B, p_sum_B, happened_B
