"""Rolling origins, and how sure a difference between two forecasters is; no Spark.

One test date is one draw: a back-test repeats train and test as if each of several dates were today, and its intervals
resample members, since one member's rows on several dates are no independent evidence.

Shape legend: D test dates, M members, N members of one date, K levels, R resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.evaluation.calibration import p_move_up
from memberlevel_spark.evaluation.inputs import FloatArray, IntArray
from memberlevel_spark.timeline import LabelWindow, every

Statistic = Callable[[IntArray, IntArray, FloatArray, FloatArray], float]


@dataclass(frozen=True)
class Origin:
    """One test date, and the training dates whose labels are known by then."""

    test: date
    train: tuple[date, ...]


def rolling_origins(
    last_test: date, first_train: date, *, every_days: int, num_tests: int, label: LabelWindow
) -> tuple[Origin, ...]:
    """The last ``num_tests`` test dates, a step apart, each with every training date a step apart that is mature by it.

    Errors: ConfigError when the earliest test date has no training date.
    """
    tests = [last_test - timedelta(days=every_days * step) for step in reversed(range(num_tests))]
    known = {test: label.last_known_by(test) for test in tests}
    too_early = [test for test in tests if known[test] < first_train]
    if too_early:
        raise ConfigError(
            f"test dates have no training date before them: {too_early[0]} is the earliest, labels take"
            f" {label.reach_days} days and training begins on {first_train}. Ask for fewer test dates."
        )
    return tuple(Origin(test, every(first_train, known[test], every_days)) for test in tests)


@dataclass(frozen=True)
class Judged:
    """One test date: who is judged, what happened, and the level forecasts that are compared, in the same order."""

    member_N: np.ndarray
    level_now_N: IntArray
    target_N: IntArray
    p_level: Mapping[str, Sequence[FloatArray]]  # forecaster -> one [N, K] per seed


@dataclass(frozen=True)
class Difference:
    """One metric of the first forecaster less the second's, and the middle 95 % of it over resamples of members.

    None where the metric is defined on no date, such as the order of upgrades where nobody moves up.
    """

    metric: str
    mean: float | None
    low: float | None
    high: float | None


def log_loss_of(target_N: IntArray, _: IntArray, p_NK: FloatArray, weight_N: FloatArray) -> float:
    """Mean −ln P(realised level), members by weight."""
    p_N = np.maximum(p_NK[np.arange(len(target_N)), target_N], np.finfo(np.float64).eps)
    return float(-(np.log(p_N) * weight_N).sum() / weight_N.sum())


def accuracy_of(target_N: IntArray, _: IntArray, p_NK: FloatArray, weight_N: FloatArray) -> float:
    """Share of members whose likeliest level was theirs, members by weight."""
    return float(((p_NK.argmax(axis=1) == target_N) * weight_N).sum() / weight_N.sum())


def upgrade_auc_of(target_N: IntArray, level_now_N: IntArray, p_NK: FloatArray, weight_N: FloatArray) -> float:
    """How well P(moves up) orders members, members by weight; NaN where nobody or everybody moved up."""
    return _of_moves(roc_auc_score, target_N > level_now_N, p_move_up(level_now_N, p_NK), weight_N)


def upgrade_ap_of(target_N: IntArray, level_now_N: IntArray, p_NK: FloatArray, weight_N: FloatArray) -> float:
    """Average precision of P(moves up), members by weight; NaN where nobody or everybody moved up."""
    return _of_moves(average_precision_score, target_N > level_now_N, p_move_up(level_now_N, p_NK), weight_N)


STATISTICS: Mapping[str, Statistic] = {
    "log_loss": log_loss_of,
    "accuracy": accuracy_of,
    "upgrade_auc": upgrade_auc_of,
    "upgrade_ap": upgrade_ap_of,
}


def paired_differences(
    dates: Sequence[Judged],
    pair: tuple[str, str],
    *,
    num_resamples: int,
    seed: int,
    statistics: Mapping[str, Statistic] = STATISTICS,
) -> list[Difference]:
    """Compare two forecasters on the same members: each metric is a mean over seeds, then over dates.

    Every resample draws M members with replacement and takes all their dates, for both forecasters alike.
    """
    members = np.unique(np.concatenate([judged.member_N for judged in dates]))
    places = [np.searchsorted(members, judged.member_N) for judged in dates]
    random = np.random.default_rng(seed)
    draws = [np.ones(len(members))]
    draws += [
        np.bincount(random.integers(0, len(members), len(members)), minlength=len(members)).astype(np.float64)
        for _ in range(num_resamples)
    ]
    found = []
    for metric, statistic in statistics.items():
        gaps_R = np.array([_gap(dates, places, draw, statistic, pair) for draw in draws])
        drawn_R = gaps_R[1:][np.isfinite(gaps_R[1:])]
        low, high = np.quantile(drawn_R, [0.025, 0.975]).tolist() if drawn_R.size else (None, None)
        found.append(Difference(metric, float(gaps_R[0]) if np.isfinite(gaps_R[0]) else None, low, high))
    return found


def _gap(
    dates: Sequence[Judged],
    places: Sequence[np.ndarray],
    weight_M: FloatArray,
    statistic: Statistic,
    pair: tuple[str, str],
) -> float:
    values = []
    for judged, place_N in zip(dates, places, strict=True):
        drawn_N = weight_M[place_N]
        kept_N = drawn_N > 0
        now_N, target_N, weight_N = judged.level_now_N[kept_N], judged.target_N[kept_N], drawn_N[kept_N]
        means = [
            np.mean([statistic(target_N, now_N, p_NK[kept_N], weight_N) for p_NK in judged.p_level[name]])
            for name in pair
        ]
        values.append(means[0] - means[1])
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _of_moves(judge: Callable[..., float], moved_N: np.ndarray, p_up_N: FloatArray, weight_N: FloatArray) -> float:
    if np.unique(moved_N).size < 2:
        return float("nan")
    return float(judge(moved_N, p_up_N, sample_weight=weight_N))
