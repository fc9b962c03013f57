"""Probes for leaks on encoded examples: one feature that knows the outcome, and a model that learns from noise.

In: encoded features and outcomes of training and held-out rows. Out: AUCs, the alarms they raise, what chance allows.

Shape legend: N rows, F features, O outcomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memberlevel_spark.errors import DataQualityError, LeakageError, first_five
from memberlevel_spark.evaluation.baselines import boosted_tree_probabilities
from memberlevel_spark.evaluation.inputs import FloatArray, check_same_rows

# Standard deviations from .5 within which an AUC is chance: beyond them in one of 16,000 runs.
CHANCE_Z = 4.0


@dataclass(frozen=True, order=True)
class FeatureAlarm:
    """A feature that orders an outcome nearly by itself; ``auc`` is at least .5, whichever way it orders."""

    feature: str
    outcome: str
    auc: float

    def __str__(self) -> str:
        return f"{self.feature} tells {self.outcome} with AUC {self.auc:.4f}"


def feature_aucs(x_NF: ArrayLike, outcome_NO: ArrayLike) -> FloatArray:
    """Area under the ROC curve of every feature alone against every outcome, ties counting half; float64 [F, O].

    AUC = (sum of the ranks of the positive rows − n₁ (n₁ + 1) / 2) / (n₁ n₀), with mean ranks of ties: the statistic U
    of Mann and Whitney (1947) over the number of pairs.

    Raises:
        DataQualityError: different numbers of rows, or an outcome with rows of one class only.
    """
    features_NF, positive_NO = np.asarray(x_NF), np.asarray(outcome_NO, dtype=bool)
    check_same_rows(features=features_NF, outcome=positive_NO)
    num_positive_O, num_negative_O = positive_NO.sum(axis=0), (~positive_NO).sum(axis=0)
    if not (num_positive_O * num_negative_O).all():
        found = [
            f"{with_it} with and {without} without"
            for with_it, without in zip(num_positive_O, num_negative_O, strict=True)
        ]
        raise DataQualityError(
            f"an AUC needs rows with and without the outcome: {first_five(found)}. Take more rows or leave it out."
        )
    # Twice the mean rank is an integer: sums of ranks are exact.
    twice_FO = np.stack([_twice_ranks(column_N) @ positive_NO.astype(np.int64) for column_N in features_NF.T])
    return (twice_FO - num_positive_O * (num_positive_O + 1)) / (2.0 * num_positive_O * num_negative_O)


def feature_alarms(
    x_NF: ArrayLike, outcomes: Mapping[str, ArrayLike], names: Sequence[str], *, max_auc: float
) -> list[FeatureAlarm]:
    """Every feature whose AUC, or 1 − AUC, against an outcome is above ``max_auc``; the strongest first."""
    if not outcomes:
        return []
    auc_FO = feature_aucs(x_NF, np.stack([np.asarray(values_N, dtype=bool) for values_N in outcomes.values()], axis=1))
    found = [
        FeatureAlarm(name, outcome, float(max(auc, 1.0 - auc)))
        for name, auc_O in zip(names, auc_FO.tolist(), strict=True)
        for outcome, auc in zip(outcomes, auc_O, strict=True)
    ]
    return sorted((alarm for alarm in found if alarm.auc > max_auc), key=lambda alarm: (-alarm.auc, alarm))


def require_no_alarm(alarms: Sequence[FeatureAlarm], max_auc: float) -> None:
    """Errors: LeakageError naming the features and their AUC, the first five."""
    if alarms:
        raise LeakageError(
            f"features that nearly are an outcome (above {max_auc}): {first_five(alarms)}. Look at what they are made"
            " of; raise leakage.max_feature_auc only for a feature that is known on its as-of date."
        )


def chance_bound(outcome_N: ArrayLike) -> float:
    """How far from .5 the AUC of a forecast that knows nothing may lie: ``CHANCE_Z`` standard deviations.

    The variance of the AUC without any relation is (n₁ + n₀ + 1) / (12 n₁ n₀): Mann and Whitney (1947).
    """
    positive_N = np.asarray(outcome_N, dtype=bool)
    num_positive, num_negative = int(positive_N.sum()), int((~positive_N).sum())
    return float(CHANCE_Z * np.sqrt((num_positive + num_negative + 1) / (12.0 * num_positive * num_negative)))


@dataclass(frozen=True)
class ProbeRows:
    """Encoded features [N, F], an outcome [N] and the key [N] that tells rows apart, in the order of as-of dates."""

    x_NF: np.ndarray
    outcome_N: np.ndarray
    key_N: np.ndarray


def shuffled_label_auc(train: ProbeRows, held_out: ProbeRows, *, seed: int) -> tuple[float, float]:
    """Held-out AUC of a boosted tree that learned shuffled outcomes, and how far from .5 chance lets it lie.

    A key that is in both keeps its shuffled outcome, so that a held-out row that was trained on is recognised.
    Held-out outcomes are shuffled too: against true ones a model of noise is a random direction among features that do
    tell the outcome, and its AUC spreads wider than any bound from the number of rows.

    Raises:
        DataQualityError: different numbers of features or rows, or rows of one class only.
    """
    num_train = len(train.outcome_N)
    outcome_N = np.concatenate([train.outcome_N, held_out.outcome_N]).astype(np.int64)
    shuffled_N = np.random.default_rng(seed).permutation(outcome_N)
    _, first_N, which_N = np.unique(
        np.concatenate([train.key_N, held_out.key_N]), return_index=True, return_inverse=True
    )
    shuffled_N = shuffled_N[first_N][which_N]
    held_N = shuffled_N[num_train:]
    p_NK = boosted_tree_probabilities(train.x_NF, shuffled_N[:num_train], held_out.x_NF, num_levels=2, seed=seed)
    return float(feature_aucs(p_NK[:, 1:], held_N[:, None])[0, 0]), chance_bound(held_N)


def require_chance(auc: float, bound: float) -> None:
    """Errors: LeakageError when a model that learned noise beats chance on held-out rows."""
    if auc - 0.5 > bound:
        raise LeakageError(
            f"a model of shuffled labels beats chance: AUC {auc:.3f}, at most {0.5 + bound:.3f} expected. Held-out rows"
            " are known from training: look for copies across the split, or for a feature fitted on labels."
        )


def _twice_ranks(values_N: np.ndarray) -> np.ndarray:
    """Twice the mean rank of every value, counted from 1: its first rank plus its last one."""
    order_N = np.argsort(values_N, kind="stable")
    sorted_N = values_N[order_N]
    is_first_N = np.append(True, sorted_N[1:] != sorted_N[:-1])
    starts = np.flatnonzero(is_first_N)
    ends = np.append(starts[1:], sorted_N.size)
    twice_N = np.empty(sorted_N.size, dtype=np.int64)
    twice_N[order_N] = (starts + 1 + ends)[np.cumsum(is_first_N) - 1]
    return twice_N
