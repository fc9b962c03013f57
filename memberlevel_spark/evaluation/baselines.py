"""The forecasts a model must beat: the training shares, "everybody stays", and a boosted tree on the same features.

In: training counts, current levels or encoded features. Out: level probabilities float64 [n, K], rows summing to 1.

Shape legend: N training rows, M rows to forecast, F features, K levels.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from memberlevel_spark.errors import DataQualityError, first_five
from memberlevel_spark.evaluation.inputs import FloatArray, IntArray, check_same_rows, checked_levels

EARLY_STOPPING_SHARE = 0.1
SMALLEST_PROBABILITY = 1e-6


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


def boosted_tree_probabilities(
    train_x: ArrayLike, train_y: ArrayLike, x: ArrayLike, *, num_levels: int, seed: int
) -> FloatArray:
    """Train scikit-learn's histogram gradient boosting on encoded features and forecast; float64 [M, num_levels].

    Settings are fixed, so that the baseline is the same in every run. Boosting stops early on the LAST tenth of the
    training rows: pass them ordered by as-of date, and the stopping slice is the latest dates, not copies of members
    the trees have already seen. A level missing in training gets about 1e-6.

    Args:
        train_x: [N, F] numbers; NaN means missing and is handled by the trees, infinities are refused.
        train_y: [N] levels, integers in [0, num_levels).
        x: [M, F] rows to forecast.
        num_levels: K, at least 2.
        seed: seed of every random choice in the training.

    Raises:
        DataQualityError: shapes differ, an infinite feature, or a level outside the range.
    """
    train_NF, x_MF = _checked_features("train_x", train_x), _checked_features("x", x)
    if train_NF.shape[1] != x_MF.shape[1]:
        raise DataQualityError(
            f"The numbers of features differ: train_x {train_NF.shape[1]}, x {x_MF.shape[1]}. Use one encoder for both."
        )
    y_N = checked_levels("train_y", train_y, num_levels=num_levels)
    check_same_rows(train_x=train_NF, train_y=y_N)
    seen = np.unique(y_N)
    p_MK = np.full((len(x_MF), num_levels), SMALLEST_PROBABILITY)
    p_MK[:, seen] += _seen_level_probabilities(train_NF, y_N, x_MF, seed=seed)
    p_MK /= p_MK.sum(axis=1, keepdims=True)
    return p_MK


def _seen_level_probabilities(train_NF: FloatArray, y_N: IntArray, x_MF: FloatArray, *, seed: int) -> FloatArray:
    """Probabilities of the levels that occur in training, in their order; a single level needs no trees."""
    if np.unique(y_N).size == 1:
        return np.ones((len(x_MF), 1))
    stop_N = _stopping_rows(y_N)
    model = HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_iter=300,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        l2_regularization=1.0,
        early_stopping=bool(stop_N.any()),
        n_iter_no_change=10,
        random_state=seed,
    )
    held_out = {"X_val": train_NF[stop_N], "y_val": y_N[stop_N]} if stop_N.any() else {}
    model.fit(train_NF[~stop_N], y_N[~stop_N], **held_out)
    p_MS: FloatArray = model.predict_proba(x_MF)
    return p_MS


def _stopping_rows(y_N: IntArray) -> NDArray[np.bool_]:
    """Mark the last tenth of the rows, less those whose level the other rows lack: it would be unknown to the trees."""
    first_held_out = len(y_N) - int(len(y_N) * EARLY_STOPPING_SHARE)
    late_N = np.arange(len(y_N)) >= first_held_out
    return late_N & np.isin(y_N, y_N[~late_N])


def _checked_features(name: str, features: ArrayLike) -> FloatArray:
    array_NF = np.asarray(features, dtype=np.float64)
    if array_NF.ndim != 2 or 0 in array_NF.shape:
        raise DataQualityError(f"{name} must be a table of numbers: shape {array_NF.shape}. Pass rows by features.")
    infinite = np.unique(np.argwhere(np.isinf(array_NF))[:, 1])
    if infinite.size:
        raise DataQualityError(f"{name} has infinite values in columns: {first_five(infinite)}. Clip or null them.")
    return array_NF
