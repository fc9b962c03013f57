"""Level metrics against values worked out by hand, plain-Python re-derivations and scipy."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.metrics import (
    METRIC_NAMES,
    classwise_ece,
    confusion_matrix,
    level_metrics,
    migration,
    reliability,
    top_label_ece,
)

TARGET = [0, 1, 2, 1]
NOW = [0, 0, 2, 1]
P_LEVEL = [[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6], [0.5, 0.4, 0.1]]  # predicts 0, 1, 2, 0


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], list[int], np.ndarray]:
    """Targets, levels now and probabilities of 1 to 40 members on 2 to 5 levels, zeros and ties included."""
    num_levels = draw(st.integers(2, 5))
    levels = st.integers(0, num_levels - 1)
    weights = st.lists(st.integers(0, 6), min_size=num_levels, max_size=num_levels).filter(any)
    rows = draw(st.lists(st.tuples(levels, levels, weights), min_size=1, max_size=40))
    p_level = np.array([np.array(row[2]) / sum(row[2]) for row in rows])
    return [row[0] for row in rows], [row[1] for row in rows], p_level


def test_every_metric_of_four_members_is_the_value_worked_out_by_hand() -> None:
    assert level_metrics(TARGET, NOW, P_LEVEL) == pytest.approx(
        {
            "accuracy": 3 / 4,
            "macro_precision": (1 / 2 + 1 + 1) / 3,
            "macro_recall": (1 + 1 / 2 + 1) / 3,
            "macro_f1": (2 / 3 + 2 / 3 + 1) / 3,
            "qwk": 1 - 1 / 5,  # one miss by one level; chance would cost 5
            "log_loss": -math.log(0.7 * 0.6 * 0.6 * 0.4) / 4,
            "upgrade_auc": 1.0,
            "upgrade_ap": 1.0,
            # One of four members moved up, and is the one likeliest to; nobody moved down.
            **{f"upgrade_lift_{percentage}": 4.0 for percentage in (1, 5, 10)},
            **{f"downgrade_{name}": None for name in ("auc", "ap", "lift_1", "lift_5", "lift_10")},
            "ece": ((0.3 + 0.2 + 0.1 + 0.5) + (0.2 + 0.4 + 0.3 + 0.6) + (0.2 + 0.2 + 0.4)) / 4 / 3,
        }
    )


def test_metrics_come_in_the_fixed_order() -> None:
    assert tuple(level_metrics(TARGET, NOW, P_LEVEL)) == METRIC_NAMES
    assert METRIC_NAMES[:5] == ("accuracy", "macro_precision", "macro_recall", "macro_f1", "qwk")
    assert METRIC_NAMES[5:8] == ("log_loss", "upgrade_auc", "upgrade_ap")
    assert METRIC_NAMES[8:11] == ("upgrade_lift_1", "upgrade_lift_5", "upgrade_lift_10")
    assert METRIC_NAMES[11:] == (*(name.replace("up", "down") for name in METRIC_NAMES[6:11]), "ece")


def test_a_level_nobody_holds_and_nobody_predicts_is_left_out_of_macro_means() -> None:
    with_empty_level = [[*row, 0.0] for row in P_LEVEL]
    assert level_metrics(TARGET, NOW, with_empty_level)["macro_f1"] == pytest.approx(7 / 9)


def test_a_level_predicted_but_never_held_counts_as_zero() -> None:
    p_level = [[0.9, 0.1], [0.1, 0.9]]
    assert level_metrics([0, 0], [0, 0], p_level)["macro_recall"] == pytest.approx((0.5 + 0) / 2)


def test_ties_go_to_the_lower_level() -> None:
    assert level_metrics([0, 1], [0, 0], [[0.5, 0.5], [0.5, 0.5]])["accuracy"] == 0.5


def test_upgrade_metrics_are_none_when_nobody_moves_up_or_everybody_does() -> None:
    p_level = [[0.6, 0.4], [0.3, 0.7]]
    for target, now in (([0, 1], [0, 1]), ([1, 1], [0, 0])):
        metrics = level_metrics(target, now, p_level)
        assert (metrics["upgrade_auc"], metrics["upgrade_ap"]) == (None, None)


def test_kappa_is_none_when_one_level_is_all_there_is() -> None:
    metrics = level_metrics([1, 1], [1, 1], [[0.1, 0.9], [0.2, 0.8]])
    assert metrics["qwk"] is None
    assert metrics["accuracy"] == 1.0


def test_members_of_the_top_level_count_in_the_upgrade_ranking_with_probability_zero() -> None:
    # The mover (0.2) ranks above the top member (0) and below the other (0.9): one of two pairs is right.
    p_level = [[0.8, 0.2], [0.1, 0.9], [0.5, 0.5]]
    assert level_metrics([1, 0, 1], [0, 0, 1], p_level)["upgrade_auc"] == pytest.approx(0.5)


def test_a_forecast_that_excluded_what_happened_has_a_large_but_finite_log_loss() -> None:
    loss = level_metrics([0, 1], [0, 0], [[0.0, 1.0], [0.0, 1.0]])["log_loss"]
    assert loss == pytest.approx(-math.log(np.finfo(np.float64).eps) / 2, rel=1e-6)


def test_moves_down_are_ranked_by_the_mass_below_the_level_now() -> None:
    p_level = [[0.1, 0.5, 0.4], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4], [0.9, 0.1, 0.0]]
    found = level_metrics([0, 1, 1, 0], [1, 2, 2, 0], p_level)
    p_down = [0.1, 0.8, 0.6, 0.0]
    assert found["downgrade_auc"] == pytest.approx(roc_auc_score([1, 1, 1, 0], p_down))
    assert found["downgrade_ap"] == pytest.approx(average_precision_score([1, 1, 1, 0], p_down))
    assert found["downgrade_lift_10"] == pytest.approx(4 / 3)
    assert found["upgrade_auc"] is None


@given(cases())
def test_no_metric_is_ever_nan_and_all_agree_with_plain_python(case: tuple[list[int], list[int], np.ndarray]) -> None:
    target, now, p_level = case
    metrics = level_metrics(target, now, p_level)
    assert all(value is None or math.isfinite(value) for value in metrics.values())
    predicted = [max(range(len(row)), key=lambda level: (row[level], -level)) for row in p_level]
    assert metrics["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(target, predicted, strict=True)]))
    assert metrics["macro_f1"] == pytest.approx(plain_macro_f1(target, predicted))
    assert metrics["qwk"] == pytest.approx(plain_quadratic_kappa(target, predicted))
    assert metrics["ece"] == pytest.approx(plain_classwise_ece(target, p_level, bins=15), abs=1e-9)
    assert metrics["upgrade_auc"] == pytest.approx(mann_whitney_auc(target, now, p_level))


@given(cases())
def test_confusion_counts_pairs_and_migration_sums_probabilities(
    case: tuple[list[int], list[int], np.ndarray],
) -> None:
    target, now, p_level = case
    num_levels = p_level.shape[1]
    counts = confusion_matrix(target, now, num_levels)
    expected = migration(now, p_level)
    for row in range(num_levels):
        for column in range(num_levels):
            assert counts[row, column] == list(zip(target, now, strict=True)).count((row, column))
            mass = sum(p[column] for level, p in zip(now, p_level, strict=True) if level == row)
            assert expected[row, column] == pytest.approx(mass)


@given(cases(), st.integers(1, 20))
def test_top_label_error_agrees_with_plain_python(case: tuple[list[int], list[int], np.ndarray], bins: int) -> None:
    target, _, p_level = case
    confidence = [float(max(row)) for row in p_level]
    hit = [
        row[level] == max(row) and level == list(row).index(max(row))
        for level, row in zip(target, p_level, strict=True)
    ]
    assert top_label_ece(target, p_level, bins=bins) == pytest.approx(plain_gap(confidence, hit, bins), abs=1e-9)


def test_constant_confidence_hides_from_the_top_label_error_but_not_from_the_classwise_one() -> None:
    # Three of four stay and the forecast says 75 %, but all movers go up, which it does not know.
    now, target = [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 2]
    p_level = [[0.75 if level == held else 0.125 for level in range(3)] for held in now]
    assert top_label_ece(target, p_level) == pytest.approx(0.0)
    # Level 0 for those now on level 1, and level 1 for those on level 0, are off by 1/8 for half of the members.
    assert classwise_ece(target, p_level) == pytest.approx((1 / 16 + 1 / 16 + 0) / 3)


def test_bins_are_closed_on_the_right() -> None:
    # With two bins 0.5 is in the lower one: its hit cannot make up for the miss at 0.6.
    assert top_label_ece([0, 0], [[0.5, 0.5], [0.6, 0.4]], bins=2) == pytest.approx((0.5 + 0.4) / 2)
    assert top_label_ece([0, 1], [[0.5, 0.5], [0.6, 0.4]], bins=2) == pytest.approx((0.5 + 0.6) / 2)


def test_reliability_gives_the_points_of_sklearns_calibration_curve() -> None:
    rng = np.random.default_rng(3)
    p_level = rng.dirichlet([1, 1, 1], size=500)
    target, now = rng.integers(0, 3, 500), rng.integers(0, 3, 500)
    points = reliability(target, p_level, level_now_N=now)
    p_up = np.array([row[level + 1 :].sum() for level, row in zip(now, p_level, strict=True)])
    held = np.eye(3)[target].ravel()
    for event, happened, probability in (("moves_up", target > now, p_up), ("all_levels", held, p_level.ravel())):
        observed, confidence = calibration_curve(happened, np.minimum(probability, 1.0), n_bins=10)
        curve = [point for point in points if point["event"] == event]
        assert [point["observed"] for point in curve] == pytest.approx(observed)
        assert [point["confidence"] for point in curve] == pytest.approx(confidence)
        assert sum(int(point["count"]) for point in curve) == len(probability)


def test_reliability_without_the_level_now_knows_only_all_levels() -> None:
    points = reliability([0, 1], [[0.9, 0.1], [0.4, 0.6]], bins=2)
    assert points == [
        {"event": "all_levels", "confidence": pytest.approx(0.25), "observed": 0.0, "count": 2},
        {"event": "all_levels", "confidence": pytest.approx(0.75), "observed": 1.0, "count": 2},
    ]


def test_float32_rows_may_miss_one_by_a_ten_thousandth_and_float64_rows_may_not() -> None:
    p_level = np.array([[0.5, 0.50005]])
    assert level_metrics([1], [0], p_level.astype(np.float32))["accuracy"] == 1.0
    with pytest.raises(DataQualityError, match=r"do not sum to 1: 1\.0000"):
        level_metrics([1], [0], p_level)


@pytest.mark.parametrize(
    ("target", "now", "p_level", "message"),
    [
        ([0, 3], [0, 0], [[0.5, 0.5]] * 2, r"target holds levels outside 0 to 1: 3\."),
        ([0, 0], [-1, 0], [[0.5, 0.5]] * 2, r"level_now holds levels outside 0 to 1: -1\."),
        ([0.0, math.nan], [0, 0], [[0.5, 0.5]] * 2, "target must hold whole numbers: float64, 0.0, nan"),
        ([[0]], [0], [[0.5, 0.5]], r"target must be one level per member: shape \(1, 1\)"),
        ([], [0], [[0.5, 0.5]], r"target must be one level per member: shape \(0,\)"),
        ([0], [0, 1], [[0.5, 0.5]], "numbers of rows differ: level_now 2, p_level 1, target 1"),
        ([0], [0], [0.5, 0.5], r"at least two levels: shape \(2,\)"),
        ([0], [0], [[1.0]], r"at least two levels: shape \(1, 1\)"),
        ([0], [0], [[math.nan, 1.0]], "values that are no probability: nan"),
        ([0], [0], [[-0.25, 1.25]], "values that are no probability: -0.25"),
        ([0], [0], [[math.inf, 0.0]], "values that are no probability: inf"),
        ([0], [0], [[0.5, 0.4]], "do not sum to 1: 0.9"),
    ],
)
def test_wrong_input_is_refused_with_its_values(target: Any, now: Any, p_level: Any, message: str) -> None:
    with pytest.raises(DataQualityError, match=message):
        level_metrics(target, now, p_level)


def test_matrices_and_curves_refuse_what_does_not_fit() -> None:
    with pytest.raises(DataQualityError, match="predicted holds levels outside 0 to 1: 2"):
        confusion_matrix([0, 1], [0, 2], 2)
    with pytest.raises(DataQualityError, match="numbers of rows differ: predicted 1, target 2"):
        confusion_matrix([0, 1], [0], 2)
    with pytest.raises(DataQualityError, match="numbers of rows differ: level_now 2, p_level 1"):
        migration([0, 1], [[0.5, 0.5]])
    with pytest.raises(DataQualityError, match="numbers of rows differ: level_now 2, target 1"):
        reliability([0], [[0.5, 0.5]], level_now_N=[0, 1])
    with pytest.raises(DataQualityError, match="at least one bin: 0"):
        classwise_ece([0], [[0.5, 0.5]], bins=0)


def plain_gap(probability: list[float], happened: list[bool], bins: int) -> float:
    """Σ_b n_b/N |mean p − share|, from its definition, bins (a, b] with 0 in the first."""
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in pairwise(edges):
        rows = [row for row, p in enumerate(probability) if low < p <= high or (low == 0.0 and p <= 0.0)]
        if rows:
            mean_p = sum(probability[row] for row in rows) / len(rows)
            share = sum(happened[row] for row in rows) / len(rows)
            total += len(rows) / len(probability) * abs(mean_p - share)
    return total


def plain_classwise_ece(target: list[int], p_level: np.ndarray, *, bins: int) -> float:
    num_levels = p_level.shape[1]
    gaps = [plain_gap([float(p) for p in p_level[:, k]], [t == k for t in target], bins) for k in range(num_levels)]
    return sum(gaps) / num_levels


def plain_macro_f1(target: list[int], predicted: list[int]) -> float:
    pairs, scores = list(zip(target, predicted, strict=True)), []
    for level in {*target, *predicted}:
        hits = pairs.count((level, level))
        scores.append(2 * hits / (target.count(level) + predicted.count(level)))
    return sum(scores) / len(scores)


def plain_quadratic_kappa(target: list[int], predicted: list[int]) -> float | None:
    if len({*target, *predicted}) == 1:
        return None
    seen = sum((a - b) ** 2 for a, b in zip(target, predicted, strict=True)) / len(target)
    chance = sum((a - b) ** 2 for a in target for b in predicted) / len(target) ** 2
    return 1 - seen / chance


def mann_whitney_auc(target: list[int], now: list[int], p_level: np.ndarray) -> float | None:
    """AUC = U / (n₁ n₀), scipy's Mann–Whitney statistic."""
    p_up = np.array([row[level + 1 :].sum() for level, row in zip(now, p_level, strict=True)])
    moved = np.array(target) > np.array(now)
    if moved.all() or not moved.any():
        return None
    return float(stats.mannwhitneyu(p_up[moved], p_up[~moved]).statistic / (moved.sum() * (~moved).sum()))
