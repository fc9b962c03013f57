"""The level forecasts a model must beat: training shares, "everybody stays", "everybody goes on as before", and a
logistic regression and a boosted tree on the same features.

In: training counts, current levels, probabilities of thresholds or encoded features. Out: level probabilities float64
[n, K], rows summing to 1.

Shape legend: N training rows, M rows to forecast, F features, K levels, K1 levels above the lowest.
"""

import warnings
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from memberlevel_spark.errors import DataQualityError, first_five
from memberlevel_spark.evaluation.inputs import FloatArray, IntArray, check_same_rows, checked_levels

SMALLEST_PROBABILITY = 1e-6
LOGISTIC_C, LOGISTIC_ITERATIONS = 1.0, 100
NUM_ROUNDS, LEAST_LEAF_ROWS = 120, 50
TREE: dict[str, Any] = {
    "objective": "multiclass",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


def majority_probabilities(train_target_counts_K: ArrayLike, num_rows: int) -> FloatArray:
    """Give every member the level shares of the training targets; float64 [num_rows, K].

    Raises:
        DataQualityError: counts are not one non-negative number per level with a positive total, or num_rows < 1.
    """
    counts_K = np.asarray(train_target_counts_K, dtype=np.float64)
    usable = counts_K.ndim == 1 and np.isfinite(counts_K).all() and (counts_K >= 0).all() and counts_K.sum() > 0
    if not usable:
        raise DataQualityError(
            f"Training target counts are unusable: {counts_K.tolist()}. Pass one count per level, not all 0."
        )
    if num_rows < 1:
        raise DataQualityError(f"Nothing to forecast: num_rows {num_rows}. Pass at least one row.")
    return np.tile(counts_K / counts_K.sum(), (num_rows, 1))


def persistence_probabilities(level_now_N: ArrayLike, stay_share: float, num_levels: int) -> FloatArray:
    """Forecast that the level stays as it is; float64 [N, num_levels].

    The current level gets ``stay_share``, the share of TRAINING rows whose level stayed; the rest is spread evenly over
    the other levels, because a probability of 0 would make the log-loss of every mover all but infinite.
    A share at or below 1/K is raised to just above it, so that the most likely level is the current one in every shop.

    Raises:
        DataQualityError: stay_share outside [0, 1], fewer than two levels, or a level outside the range.
    """
    if not 0.0 <= stay_share <= 1.0:
        raise DataQualityError(f"stay_share must lie in [0, 1]: {stay_share}. Measure it on the training rows.")
    if num_levels < 2:
        raise DataQualityError(f"A level programme needs two levels: {num_levels}. Check the level rules.")
    now_N = checked_levels("level_now", level_now_N, num_levels=num_levels)
    stays = max(float(stay_share), 1.0 / num_levels + SMALLEST_PROBABILITY)
    p_NK = np.full((len(now_N), num_levels), (1.0 - stays) / (num_levels - 1))
    p_NK[np.arange(len(now_N)), now_N] = stays
    return p_NK


def run_rate_levels(needs_NXK1: ArrayLike, run_rate_NX: ArrayLike, *, every_metric: bool) -> IntArray:
    """Apply the level rules to members who go on as before; int64 [N].

    Args:
        needs_NXK1: [N, X, K - 1] what each metric lacks to each level above the lowest on the label date.
        run_rate_NX: [N, X] what each metric will have earned by then.
        every_metric: whether a level asks for all metrics, or for any one.
    """
    reached_NXK1 = np.asarray(run_rate_NX)[:, :, np.newaxis] >= np.asarray(needs_NXK1)
    reached_NK1 = reached_NXK1.all(axis=1) if every_metric else reached_NXK1.any(axis=1)
    levels_N: IntArray = np.logical_and.accumulate(reached_NK1, axis=1).sum(axis=1)
    return levels_N


def threshold_probabilities(p_reached_NK1: ArrayLike) -> FloatArray:
    """Turn P(level ≥ k) for each k above the lowest, column by column, into level probabilities; float64 [N, K].

    Models of single thresholds may contradict each other: a level is reached at most as surely as the one below it.
    What that leaves without probability gets about 1e-6.
    """
    reached_NK1 = np.minimum.accumulate(np.asarray(p_reached_NK1, dtype=np.float64), axis=1)
    at_least_NK = np.pad(reached_NK1, ((0, 0), (1, 0)), constant_values=1.0)
    above_NK = np.pad(reached_NK1, ((0, 0), (0, 1)))
    p_NK: FloatArray = at_least_NK - above_NK + SMALLEST_PROBABILITY
    return p_NK / p_NK.sum(axis=1, keepdims=True)


def logistic_probabilities(train_x: ArrayLike, train_y: ArrayLike, x: ArrayLike, *, num_levels: int) -> FloatArray:
    """Train scikit-learn's logistic regression on encoded features and forecast; float64 [M, num_levels].

    Arguments and errors as ``boosted_tree_probabilities``, but NaN is refused too.
    """
    train_NF, y_N, x_MF = _checked_training(train_x, train_y, x, num_levels=num_levels)
    seen = np.unique(y_N)
    if seen.size == 1:
        return _with_unseen(np.ones((len(x_MF), 1)), seen, num_levels)
    model = LogisticRegression(C=LOGISTIC_C, max_iter=LOGISTIC_ITERATIONS)
    with warnings.catch_warnings():
        # The last digits, for which it would go on, change no metric.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_NF.astype(np.float32), y_N)
    return _with_unseen(model.predict_proba(x_MF.astype(np.float32)), seen, num_levels)


def boosted_tree_probabilities(
    train_x: ArrayLike, train_y: ArrayLike, x: ArrayLike, *, num_levels: int, seed: int
) -> FloatArray:
    """Train LightGBM on encoded features and forecast; float64 [M, num_levels].

    Settings and the number of rounds are fixed, so that the baseline is the same in every run and learns from the
    latest dates too, which early stopping would hold out. A level missing in training gets about 1e-6.

    Args:
        train_x: [N, F] numbers; NaN means missing and is handled by the trees, infinities are refused.
        train_y: [N] levels, integers in [0, num_levels).
        x: [M, F] rows to forecast.
        num_levels: K, at least 2.
        seed: seed of every random choice in the training.

    Raises:
        DataQualityError: shapes differ, an infinite feature, or a level outside the range.
    """
    train_NF, y_N, x_MF = _checked_training(train_x, train_y, x, num_levels=num_levels)
    seen = np.unique(y_N)
    if seen.size == 1:
        return _with_unseen(np.ones((len(x_MF), 1)), seen, num_levels)
    leaf_rows = max(1, min(LEAST_LEAF_ROWS, len(y_N) // 20))
    settings = {**TREE, "num_class": seen.size, "seed": seed, "min_data_in_leaf": leaf_rows}
    train = lightgbm.Dataset(train_NF, np.searchsorted(seen, y_N), params=settings)
    model = lightgbm.train(settings, train, num_boost_round=NUM_ROUNDS)
    return _with_unseen(np.asarray(model.predict(x_MF)), seen, num_levels)


def _with_unseen(p_MS: FloatArray, seen: IntArray, num_levels: int) -> FloatArray:
    """The probabilities of the levels seen in training put beside next to nothing for the others."""
    p_MK = np.full((len(p_MS), num_levels), SMALLEST_PROBABILITY)
    p_MK[:, seen] += p_MS
    p_MK /= p_MK.sum(axis=1, keepdims=True)
    return p_MK


def _checked_training(
    train_x: ArrayLike, train_y: ArrayLike, x: ArrayLike, *, num_levels: int
) -> tuple[FloatArray, IntArray, FloatArray]:
    train_NF, x_MF = _checked_features("train_x", train_x), _checked_features("x", x)
    if train_NF.shape[1] != x_MF.shape[1]:
        raise DataQualityError(
            f"The numbers of features differ: train_x {train_NF.shape[1]}, x {x_MF.shape[1]}. Use one encoder for both."
        )
    y_N = checked_levels("train_y", train_y, num_levels=num_levels)
    check_same_rows(train_x=train_NF, train_y=y_N)
    return train_NF, y_N, x_MF


def _checked_features(name: str, features: ArrayLike) -> FloatArray:
    array_NF = np.asarray(features, dtype=np.float64)
    if array_NF.ndim != 2 or 0 in array_NF.shape:
        raise DataQualityError(f"{name} must be a table of numbers: shape {array_NF.shape}. Pass rows by features.")
    infinite = np.unique(np.argwhere(np.isinf(array_NF))[:, 1])
    if infinite.size:
        raise DataQualityError(f"{name} has infinite values in columns: {first_five(infinite)}. Clip or null them.")
    return array_NF
