"""The numbers a level forecast is judged by, equal for the model and for every baseline.

In: realised level, level held now and level probabilities of the same members, one row per member and as-of date.
Out: one number per metric; ``None`` where a metric is undefined on the data, never NaN.

The predicted level is the most likely one; ties go to the lower level. Shape legend: N members, K levels.
"""

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics as sk

from memberlevel_spark.evaluation.calibration import classwise_ece, p_move_down, p_move_up, reliability, top_label_ece
from memberlevel_spark.evaluation.inputs import (
    FloatArray,
    IntArray,
    check_same_rows,
    checked_levels,
    checked_probabilities,
)
from memberlevel_spark.evaluation.ranking import event_metrics

__all__ = [
    "METRIC_NAMES",
    "classwise_ece",
    "confusion_matrix",
    "level_metrics",
    "migration",
    "reliability",
    "top_label_ece",
]

METRIC_NAMES = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "qwk",
    "log_loss",
    "upgrade_auc",
    "upgrade_ap",
    "upgrade_lift_1",
    "upgrade_lift_5",
    "upgrade_lift_10",
    "downgrade_auc",
    "downgrade_ap",
    "downgrade_lift_1",
    "downgrade_lift_5",
    "downgrade_lift_10",
    "ece",
)


def level_metrics(target_N: ArrayLike, level_now_N: ArrayLike, p_level_NK: ArrayLike) -> dict[str, float | None]:
    """Judge level probabilities against what happened, in the order of ``METRIC_NAMES``.

    - accuracy, macro_precision, macro_recall, macro_f1: of the most likely level. Macro means weigh levels equally;
      a level absent from the targets AND from the predictions is left out, one absent from only one side counts as 0.
    - qwk: Cohen's kappa with quadratic weights over all K levels; None when one level is all there is on both sides.
    - log_loss: mean −ln P(realised level), in nats; a probability of 0 is taken as the smallest float64 step (36 nats).
    - upgrade_auc, upgrade_ap: how well P(moves up) orders ALL members, those of the top level included (theirs is 0);
      None when nobody moved up, or everybody did.
    - upgrade_lift_1, _5, _10: how many times as many moved up in this percentage of members, those of the highest
      P(moves up), as of all; None as above.
    - downgrade_…: the same of moves down; P(moves down) is 0 for members of the lowest level.
    - ece: ``classwise_ece`` with 15 bins.

    Args:
        target_N: level held at the label date, integers in [0, K), no nulls.
        level_now_N: level held at the as-of date, integers in [0, K), no nulls.
        p_level_NK: probability of each level; rows sum to 1 within 1e-6 (1e-4 for float32).

    Raises:
        DataQualityError: shapes differ, or levels or probabilities are outside their range.
    """
    p_NK = checked_probabilities(p_level_NK)
    num_levels = p_NK.shape[1]
    true_N = checked_levels("target", target_N, num_levels=num_levels)
    now_N = checked_levels("level_now", level_now_N, num_levels=num_levels)
    check_same_rows(target=true_N, level_now=now_N, p_level=p_NK)
    predicted_N = p_NK.argmax(axis=1)
    return {
        **_point_metrics(true_N, predicted_N, num_levels=num_levels),
        "log_loss": _log_loss(true_N, p_NK),
        **event_metrics("upgrade", true_N > now_N, p_move_up(now_N, p_NK)),
        **event_metrics("downgrade", true_N < now_N, p_move_down(now_N, p_NK)),
        # Classwise and not top-label: a forecast with one constant confidence, such as persistence with its measured
        # stay share, has a top-label error near zero by construction, whatever it says about the other levels.
        "ece": classwise_ece(true_N, p_NK),
    }


def confusion_matrix(target_N: ArrayLike, predicted_N: ArrayLike, num_levels: int) -> IntArray:
    """Count members by realised level (row) and predicted level (column); int64 [K, K].

    Raises:
        DataQualityError: different numbers of rows, or a level outside [0, num_levels).
    """
    true_N = checked_levels("target", target_N, num_levels=num_levels)
    guess_N = checked_levels("predicted", predicted_N, num_levels=num_levels)
    check_same_rows(target=true_N, predicted=guess_N)
    counts_KK: IntArray = sk.confusion_matrix(true_N, guess_N, labels=np.arange(num_levels)).astype(np.int64)
    return counts_KK


def migration(level_now_N: ArrayLike, p_level_NK: ArrayLike) -> FloatArray:
    """Expected number of members by level now (row) and future level (column): sums of probabilities; float64 [K, K].

    Row k sums to the number of members now on level k.

    Raises:
        DataQualityError: different numbers of rows, or inputs outside their range.
    """
    p_NK = checked_probabilities(p_level_NK)
    num_levels = p_NK.shape[1]
    now_N = checked_levels("level_now", level_now_N, num_levels=num_levels)
    check_same_rows(level_now=now_N, p_level=p_NK)
    expected_KK = np.zeros((num_levels, num_levels))
    np.add.at(expected_KK, now_N, p_NK)
    return expected_KK


def _point_metrics(true_N: IntArray, predicted_N: IntArray, *, num_levels: int) -> dict[str, float | None]:
    # Without `labels`, scikit-learn averages over the levels seen on either side: the rule documented above.
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        true_N, predicted_N, average="macro", zero_division=0.0
    )
    # One level on both sides leaves no disagreement to expect: kappa is 0/0.
    one_level_only = np.union1d(true_N, predicted_N).size == 1
    qwk = None if one_level_only else _quadratic_kappa(true_N, predicted_N, num_levels=num_levels)
    return {
        "accuracy": float(sk.accuracy_score(true_N, predicted_N)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
        "qwk": qwk,
    }


def _quadratic_kappa(true_N: IntArray, predicted_N: IntArray, *, num_levels: int) -> float:
    return float(sk.cohen_kappa_score(true_N, predicted_N, labels=np.arange(num_levels), weights="quadratic"))


def _log_loss(true_N: IntArray, p_NK: FloatArray) -> float:
    # scikit-learn warns about rows that miss 1 by more than 1.5e-8; the checked input may miss it by 1e-6.
    normalised_NK = p_NK / p_NK.sum(axis=1, keepdims=True)
    return float(sk.log_loss(true_N, normalised_NK, labels=np.arange(p_NK.shape[1])))
