"""The forecasts a model must beat."""

from typing import Any

import numpy as np
import pytest

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.baselines import (
    boosted_tree_probabilities,
    majority_probabilities,
    persistence_probabilities,
    threshold_probabilities,
)
from memberlevel_spark.evaluation.metrics import level_metrics


def noisy_shop(num_rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three features of which the first decides the level, with noise at its borders."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows, 3))
    return x, np.searchsorted([-0.5, 0.5], x[:, 0] + 0.2 * rng.normal(size=num_rows))


def test_majority_gives_everyone_the_training_shares() -> None:
    assert majority_probabilities([6, 3, 1, 0], 2).tolist() == [[0.6, 0.3, 0.1, 0.0]] * 2


def test_persistence_keeps_the_stay_share_and_spreads_the_rest_evenly() -> None:
    p_level = persistence_probabilities([2, 0], 0.7, 4)
    assert p_level == pytest.approx(np.array([[0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1]]))


@pytest.mark.parametrize("stay_share", [0.0, 0.2, 0.25, 1.0])
def test_persistence_always_predicts_the_current_level(stay_share: float) -> None:
    now = [3, 1, 0, 2]
    p_level = persistence_probabilities(now, stay_share, 4)
    assert p_level.argmax(axis=1).tolist() == now
    assert p_level.sum(axis=1) == pytest.approx(np.ones(4))


def test_thresholds_give_their_differences_and_none_is_likelier_than_the_one_below() -> None:
    p_level = threshold_probabilities([[0.9, 0.5, 0.1], [0.3, 0.6, 0.2], [1.0, 1.0, 0.0]])
    expected = [[0.1, 0.4, 0.4, 0.1], [0.7, 0.0, 0.1, 0.2], [0.0, 0.0, 1.0, 0.0]]
    assert p_level == pytest.approx(np.array(expected), abs=3e-6)
    assert p_level.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-12)
    assert p_level[1, 1] == pytest.approx(1e-6, rel=1e-3)


def test_boosted_tree_learns_what_the_shares_cannot_know() -> None:
    train_x, train_y = noisy_shop(2000, seed=1)
    x, target = noisy_shop(500, seed=2)
    now = np.zeros(500, dtype=int)
    tree = boosted_tree_probabilities(train_x, train_y, x, num_levels=3, seed=5)
    shares = majority_probabilities(np.bincount(train_y), 500)
    tree_loss, shares_loss = (level_metrics(target, now, p)["log_loss"] for p in (tree, shares))
    assert tree_loss is not None and shares_loss is not None
    assert tree_loss < 0.6 * shares_loss


def test_boosted_tree_is_the_same_for_the_same_seed() -> None:
    train_x, train_y = noisy_shop(400, seed=1)
    first, second = (boosted_tree_probabilities(train_x, train_y, train_x, num_levels=3, seed=5) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_level_missing_in_training_gets_almost_nothing_and_rows_sum_to_one() -> None:
    train_x, train_y = noisy_shop(400, seed=1)
    p_level = boosted_tree_probabilities(train_x, train_y * 2, train_x, num_levels=5, seed=5)
    assert p_level.shape == (400, 5)
    assert p_level.sum(axis=1) == pytest.approx(np.ones(400), abs=1e-12)
    assert 0 < p_level[:, [1, 3]].max() < 2e-6


def test_a_level_seen_only_in_the_latest_rows_is_still_learnt() -> None:
    train_x, train_y = noisy_shop(400, seed=1)
    train_x[-25:, 1], train_y[-25:] = 50.0, 3
    p_level = boosted_tree_probabilities(train_x, train_y, train_x[-25:], num_levels=4, seed=5)
    assert p_level[:, 3].min() > 0.5


def test_one_level_and_a_handful_of_rows_are_enough() -> None:
    assert boosted_tree_probabilities([[1.0]] * 3, [1, 1, 1], [[2.0]], num_levels=2, seed=0)[0, 1] > 0.99
    two_levels = boosted_tree_probabilities([[1.0]] * 4, [0, 1, 1, 1], [[2.0]], num_levels=2, seed=0)
    assert two_levels[0] == pytest.approx([0.25, 0.75], abs=0.01)


def test_missing_feature_values_are_allowed() -> None:
    train_x, train_y = noisy_shop(400, seed=1)
    train_x[::7, 0] = np.nan
    p_level = boosted_tree_probabilities(train_x, train_y, [[np.nan, 0, 0]], num_levels=3, seed=5)
    assert np.isfinite(p_level).all()


@pytest.mark.parametrize("counts", [[], [0, 0], [-1, 2], [[1, 2]], [float("nan"), 1]])
def test_unusable_training_counts_are_refused(counts: Any) -> None:
    with pytest.raises(DataQualityError, match="Training target counts are unusable"):
        majority_probabilities(counts, 3)


def test_majority_refuses_to_forecast_nobody() -> None:
    with pytest.raises(DataQualityError, match="num_rows 0"):
        majority_probabilities([1, 2], 0)


@pytest.mark.parametrize(
    ("now", "stay_share", "num_levels", "message"),
    [
        ([0], 1.5, 2, r"stay_share must lie in \[0, 1\]: 1.5"),
        ([0], float("nan"), 2, r"stay_share must lie in \[0, 1\]: nan"),
        ([0], 0.8, 1, "needs two levels: 1"),
        ([4], 0.8, 4, "level_now holds levels outside 0 to 3: 4"),
    ],
)
def test_persistence_refuses_what_is_no_share_or_no_level(
    now: list[int], stay_share: float, num_levels: int, message: str
) -> None:
    with pytest.raises(DataQualityError, match=message):
        persistence_probabilities(now, stay_share, num_levels)


@pytest.mark.parametrize(
    ("train_x", "train_y", "x", "message"),
    [
        ([1.0, 2.0], [0, 1], [[1.0]], r"train_x must be a table of numbers: shape \(2,\)"),
        ([[1.0]], [0], [], r"x must be a table of numbers: shape \(0,\)"),
        ([[1.0], [2.0]], [0, 1], [[1.0, 2.0]], "numbers of features differ: train_x 1, x 2"),
        ([[1.0], [2.0]], [0], [[1.0]], "numbers of rows differ: train_x 2, train_y 1"),
        ([[1.0], [2.0]], [0, 2], [[1.0]], "train_y holds levels outside 0 to 1: 2"),
        ([[1.0, float("inf")]], [0], [[1.0, 2.0]], "train_x has infinite values in columns: 1"),
    ],
)
def test_boosted_tree_refuses_what_does_not_fit(train_x: Any, train_y: Any, x: Any, message: str) -> None:
    with pytest.raises(DataQualityError, match=message):
        boosted_tree_probabilities(train_x, train_y, x, num_levels=2, seed=0)
