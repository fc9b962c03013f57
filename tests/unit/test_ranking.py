"""Lift, captured shares and gain curves against brute force, sklearn and literal rows."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from memberlevel_spark.evaluation.ranking import CURVE_STEPS, captured_share, event_metrics, gain_curve, lift


def drawn_by_lot(amount: list[float], score: list[float], first: int) -> float:
    """Mean share of the first members over every order that puts higher scores before lower ones."""
    orders = [
        order for order in permutations(range(len(score))) if all(score[a] >= score[b] for a, b in pairwise(order))
    ]
    return float(np.mean([sum(amount[row] for row in order[:first]) for order in orders])) / sum(amount)


TIED = ([5.0, 0.0, 1.0, 4.0, 2.0, 0.0], [0.9, 0.5, 0.5, 0.5, 0.1, 0.1])


@pytest.mark.parametrize(("share", "first"), [(0.01, 1), (0.33, 2), (0.5, 3), (0.67, 4), (0.83, 5), (1.0, 6)])
def test_a_captured_share_is_what_an_order_drawn_by_lot_among_ties_gives_on_average(share: float, first: int) -> None:
    assert captured_share(*TIED, share) == pytest.approx(drawn_by_lot(*TIED, first))


def test_the_order_in_which_members_come_does_not_matter() -> None:
    amount, score = TIED
    assert captured_share(amount[::-1], score[::-1], 0.33) == captured_share(amount, score, 0.33)


def test_lift_is_the_rate_among_the_first_over_the_rate_of_all() -> None:
    happened = np.zeros(200)
    happened[[0, 1, 5, 150]] = 1  # two of the first two, three of the first ten, of four in 200
    score = np.arange(200)[::-1]
    assert lift(happened, score, 0.01) == pytest.approx((2 / 2) / (4 / 200))
    assert lift(happened, score, 0.05) == pytest.approx((3 / 10) / (4 / 200))
    assert lift(happened, score, 0.10) == pytest.approx((3 / 20) / (4 / 200))


def test_equal_scores_have_no_lift() -> None:
    assert lift([1, 0, 0, 0], [0.3, 0.3, 0.3, 0.3], 0.1) == pytest.approx(1.0)


def test_where_there_is_nothing_to_find_there_is_no_number() -> None:
    assert lift([0, 0], [0.2, 0.4], 0.1) is None
    assert captured_share([-1.0, 1.0], [0.2, 0.4], 0.5) is None
    assert gain_curve([0, 0], [0.2, 0.4]) == {"contacted": [0.0, 0.5, 1.0], "captured": None, "lift": None}
    for happened in ([0, 0], [1, 1]):
        assert set(event_metrics("churn", happened, [0.2, 0.4]).values()) == {None}


def test_an_event_is_judged_by_sklearns_metrics_and_by_lifts() -> None:
    happened, p = [1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]
    assert event_metrics("upgrade", happened, p) == {
        "upgrade_auc": pytest.approx(roc_auc_score(happened, p)),
        "upgrade_ap": pytest.approx(average_precision_score(happened, p)),
        "upgrade_lift_1": pytest.approx(2.0),
        "upgrade_lift_5": pytest.approx(2.0),
        "upgrade_lift_10": pytest.approx(2.0),
    }


def test_the_curve_of_four_members_is_the_one_worked_out_by_hand() -> None:
    assert gain_curve([0.0, 6.0, 3.0, 1.0], [0.1, 0.9, 0.5, 0.3]) == {
        "contacted": [0.0, 0.25, 0.5, 0.75, 1.0],
        "captured": pytest.approx([0.0, 0.6, 0.9, 1.0, 1.0]),
        "lift": [None, *map(pytest.approx, (2.4, 1.8, 4 / 3, 1.0))],
    }


def test_a_long_curve_is_cut_to_few_points_with_both_ends() -> None:
    curve = gain_curve(np.ones(1000), np.arange(1000))
    assert len(curve["contacted"]) == CURVE_STEPS + 1
    assert curve["captured"] == pytest.approx(curve["contacted"]) and curve["contacted"][4] == 0.1
    assert (curve["contacted"][0], curve["contacted"][-1]) == (0.0, 1.0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=CURVE_STEPS))
def test_the_area_below_the_curve_is_what_sklearns_auc_says(rows: list[tuple[bool, int]]) -> None:
    happened, score = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if happened.all() or not happened.any():
        return
    curve, rate = gain_curve(happened, score), happened.mean()
    area = np.trapezoid(curve["captured"], curve["contacted"])
    assert area == pytest.approx(rate / 2 + (1 - rate) * roc_auc_score(happened, score))
