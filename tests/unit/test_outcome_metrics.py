"""Metrics of orders and spend, against sklearn, closed forms and literal rows."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.outcomes import (
    churn_metrics,
    coverage,
    normalised_gini,
    order_metrics,
    spend_by_tenths,
    spend_metrics,
)


def test_churn_is_judged_by_its_order_and_its_height() -> None:
    churned = np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    p = np.array([0.9, 0.8, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    found = churn_metrics(churned, p)
    assert found["churn_auc"] == pytest.approx(roc_auc_score(churned, p))
    assert found["churn_ap"] == pytest.approx(average_precision_score(churned, p))
    assert found["churn_brier"] == pytest.approx((0.01 + 0.64 + 0.09 + 7 * 0.01) / 10)
    assert found["churn_lift_10"] == pytest.approx(1 / 0.2)
    # Bins of a fifteenth: 0.1, 0.7, 0.8 and 0.9 each lie in one of their own.
    assert found["churn_ece"] == pytest.approx((0.1 + 0.8 + 0.3 + 7 * 0.1) / 10)


def test_churn_that_nobody_or_everybody_does_has_no_order() -> None:
    assert churn_metrics([0, 0], [0.2, 0.4]) == {
        "churn_auc": None,
        "churn_ap": None,
        "churn_brier": pytest.approx(0.1),
        "churn_ece": pytest.approx((0.2 + 0.4) / 2),
        "churn_lift_1": None,
        "churn_lift_5": None,
        "churn_lift_10": None,
    }


def test_orders_are_judged_by_error_and_deviance() -> None:
    found = order_metrics([0, 2, 5], [0.0, 2.0, 3.0])
    deviance = 2 * (0.001 + (5 * np.log(5 / 3) - 2)) / 3
    assert found == {"orders_mae": pytest.approx(2 / 3), "orders_deviance": pytest.approx(deviance)}


def test_spend_is_judged_by_the_median_and_by_the_order_of_the_expectation() -> None:
    random = np.random.default_rng(3)
    spend, expected = random.gamma(2, 50, 200), random.gamma(2, 50, 200)
    found = spend_metrics(spend, expected, np.full(200, 80.0))
    assert found["spend_mae"] == pytest.approx(np.abs(spend - 80).mean())
    assert found["spend_spearman"] == pytest.approx(spearmanr(spend, expected).statistic)
    order = np.argsort(expected)
    deciles = [(expected[part].sum() - spend[part].sum()) / spend.sum() for part in np.split(order, 10)]
    assert found["spend_decile_error"] == pytest.approx(np.abs(deciles).sum())
    for percentage, first in ((1, 2), (5, 10), (10, 20), (20, 40)):
        assert found[f"spend_top_{percentage}"] == pytest.approx(spend[order[-first:]].sum() / spend.sum())


def test_tenths_hold_equal_numbers_of_members_and_all_of_the_spend() -> None:
    expected = np.arange(20.0)
    tenths = spend_by_tenths(2 * expected, expected)
    assert tenths[0] == {"members": 2, "expected": 0.0 + 1.0, "realised": 0.0 + 2.0}
    assert tenths[9] == {"members": 2, "expected": 18.0 + 19.0, "realised": 36.0 + 38.0}
    uneven = spend_by_tenths([5.0, 1.0, 2.0], [1.0, 3.0, 3.0])
    assert uneven == [
        {"members": 1, "expected": 1.0, "realised": 5.0},
        {"members": 1, "expected": 3.0, "realised": 1.5},
        {"members": 1, "expected": 3.0, "realised": 1.5},
    ]


def test_the_normalised_gini_is_one_for_the_true_order_and_minus_one_for_the_reverse() -> None:
    spend = np.array([0.0, 10.0, 5.0, 100.0])
    assert normalised_gini(spend, spend * 3 + 1) == pytest.approx(1)
    assert normalised_gini(spend, -spend) == pytest.approx(-1)


def test_the_normalised_gini_is_twice_the_area_between_lorenz_curve_and_diagonal_over_that_of_the_true_order() -> None:
    spend, expected = np.array([3.0, 1.0, 6.0]), np.array([2.0, 5.0, 9.0])
    lorenz, best = np.array([0, 0.3, 0.4, 1.0]), np.array([0, 0.1, 0.4, 1.0])
    areas = [np.trapezoid(curve, dx=1 / 3) for curve in (lorenz, best)]
    assert normalised_gini(spend, expected) == pytest.approx((0.5 - areas[0]) / (0.5 - areas[1]))


def test_members_of_equal_expectation_have_no_order_among_them() -> None:
    spend, expected = np.array([9.0, 1.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0, 2.0])
    assert normalised_gini(spend, expected) == pytest.approx(normalised_gini(spend[[1, 0, 3, 2]], expected))


def test_shares_and_ranks_of_nothing_are_not_a_number_but_nothing() -> None:
    found = spend_metrics([0.0, 0.0], [1.0, 2.0], [0.0, 0.0])
    assert found == {
        "spend_mae": 0.0,
        "spend_spearman": None,
        "spend_gini": None,
        "spend_decile_error": None,
        **{f"spend_top_{percentage}": None for percentage in (1, 5, 10, 20)},
    }


def test_coverage_counts_the_bounds_in() -> None:
    assert coverage([0.0, 5.0, 11.0, 7.0], [0.0, 5.2, 0.0, 8.0], [3.0, 9.0, 10.0, 9.0]) == 0.5


@pytest.mark.parametrize("wrong", [[], [[1.0]], [float("nan"), 1.0]])
def test_what_is_not_one_finite_number_per_member_is_refused(wrong: list[object]) -> None:
    with pytest.raises(DataQualityError, match="num_orders must be one finite number per member"):
        order_metrics(wrong, [1.0, 2.0])
