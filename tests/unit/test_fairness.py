"""Groups of a protected attribute on literal rows and beside Fairlearn; thresholds against a search of all of them."""

import json

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.call_thresholds import NOBODY, CallThresholds, call_costs, fit_thresholds
from memberlevel_spark.evaluation.fairness import CELL_METRICS, Judging, fairness_record, likeliest
from memberlevel_spark.evaluation.forecasts import Actuals
from memberlevel_spark.evaluation.slices import Dimension

ALL = Judging(min_members=1, call_share=0.5, num_resamples=0, seed=1)
NOW = np.zeros(8, dtype=np.int64)
TARGET = np.array([1, 0, 1, 0, 0, 0, 1, 1])
P_UP = np.array([0.9, 0.2, 0.8, 0.4, 0.7, 0.1, 0.6, 0.3])
P_LEVEL = np.stack([1 - P_UP, P_UP], axis=1)
ACTUALS = Actuals(TARGET, NOW, np.ones(8), np.ones(8))
AGE = Dimension("age", ["old", "young", "(unknown)"], np.array([1, 1, 1, 1, 0, 0, 0, 0]))


def test_every_group_is_judged_by_its_own_members() -> None:
    old, young = fairness_record(ACTUALS, {"model": P_LEVEL}, [AGE], ALL)["groups"]
    assert young == {
        "attribute": "age",
        "group": "young",
        "members": 4,
        "accuracy": 1.0,
        "expected_level": pytest.approx((0.9 + 0.2 + 0.8 + 0.4) / 4),
        "realised_level": 0.5,
        "log_loss": pytest.approx(-np.log([0.9, 0.8, 0.8, 0.6]).mean()),
        "ece": pytest.approx((0.1 + 0.2 + 0.2 + 0.4) / 4),
        "called_share": 0.5,  # 0.9 and 0.8 of all four called: 0.9, 0.8, 0.7, 0.6
        "found_share": 1.0,
        "false_share": 0.0,
    }
    assert {name: old[name] for name in ("accuracy", "called_share", "found_share", "false_share")} == {
        "accuracy": 0.5,
        "called_share": 0.5,
        "found_share": 0.5,
        "false_share": 0.5,
    }


def test_differences_between_groups_are_worked_out_by_hand() -> None:
    (row,) = fairness_record(ACTUALS, {"model": P_LEVEL}, [AGE], ALL)["differences"]
    assert row == {
        "attribute": "age",
        "forecaster": "model",
        "accuracy": 0.75,
        "log_loss": pytest.approx(-np.log([0.9, 0.8, 0.8, 0.6, 0.3, 0.9, 0.6, 0.3]).mean()),
        "demographic_parity": 0.0,
        "equalised_odds": 0.5,
        "worst_group": "old",
        "worst_gap": 0.25,
        "worst_gap_low": None,
        "worst_gap_high": None,
    }


def test_groups_say_what_fairlearn_says_of_them() -> None:
    random = np.random.default_rng(5)
    target_N, group_N = random.integers(0, 2, 400), random.integers(0, 4, 400)
    p_N = np.clip(random.beta(2, 2, 400) + 0.1 * group_N * target_N - 0.1, 0.01, 0.99)
    p_NK, names = np.stack([1 - p_N, p_N], axis=1), ["a", "b", "c", "d"]
    actuals = Actuals(target_N, np.zeros(400, dtype=np.int64), np.ones(400), np.ones(400))
    record = fairness_record(actuals, {"model": p_NK}, [Dimension("group", names, group_N)], ALL)
    called_N = likeliest(p_N, 0.5)
    rates = {"called_share": selection_rate, "found_share": true_positive_rate, "false_share": false_positive_rate}
    frame = MetricFrame(metrics=rates, y_true=target_N, y_pred=called_N, sensitive_features=group_N)
    right = MetricFrame(metrics=accuracy_score, y_true=target_N, y_pred=p_N > 0.5, sensitive_features=group_N)
    for number, row in enumerate(record["groups"]):
        assert {name: row[name] for name in rates} == pytest.approx(frame.by_group.loc[number].to_dict())
        assert row["accuracy"] == pytest.approx(right.by_group[number])
    (found,) = record["differences"]
    spread = frame.difference()
    assert found["demographic_parity"] == pytest.approx(spread["called_share"])
    assert found["equalised_odds"] == pytest.approx(max(spread["found_share"], spread["false_share"]))
    assert found["worst_group"] == names[int(right.by_group.argmin())]


def test_small_groups_are_merged_and_not_compared_and_an_empty_one_is_left_out() -> None:
    groups = Dimension("age", ["a", "b", "c", "nobody", "(unknown)"], np.array([0, 0, 0, 1, 1, 1, 2, 4]))
    judging = Judging(min_members=3, call_share=0.5, num_resamples=0, seed=1)
    record = fairness_record(ACTUALS, {"model": P_LEVEL}, [groups], judging)
    a, b, small = record["groups"]
    assert [(row["group"], row["members"]) for row in (a, b, small)] == [("a", 3), ("b", 3), ("(small)", 2)]
    assert all(small[name] is None for name in CELL_METRICS) and a["accuracy"] == 1.0
    assert b["found_share"] is None and b["false_share"] == pytest.approx(1 / 3)
    (row,) = record["differences"]
    # Called are two of a's three members and one of b's; nobody of b moved up, which leaves one group to have odds.
    assert row["demographic_parity"] == pytest.approx(1 / 3) and row["equalised_odds"] is None
    assert (row["worst_group"], row["worst_gap"]) == ("b", pytest.approx(0.75 - 2 / 3))


def test_a_group_of_one_and_one_group_of_everybody_make_no_difference() -> None:
    single = Dimension("age", ["a", "b"], np.array([0, 0, 0, 0, 0, 0, 0, 1]))
    a, b = fairness_record(ACTUALS, {"model": P_LEVEL}, [single], ALL)["groups"]
    assert (b["members"], b["accuracy"], b["found_share"], b["false_share"]) == (1, 0.0, 0.0, None)
    everybody = Dimension("age", ["a"], np.zeros(8, dtype=np.int64))
    record = fairness_record(ACTUALS, {"model": P_LEVEL}, [everybody], ALL)
    (row,) = record["differences"]
    undefined = ("demographic_parity", "equalised_odds", "worst_group", "worst_gap")
    assert [row[name] for name in undefined] == [None] * 4 and row["accuracy"] == 0.75
    assert record["groups"][0] | {"group": "a"} != a  # all eight members, not seven
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_members_without_a_group_are_shown_and_not_compared() -> None:
    groups = Dimension("age", ["a", "(unknown)"], np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    record = fairness_record(ACTUALS, {"model": P_LEVEL}, [groups], ALL)
    assert [row["group"] for row in record["groups"]] == ["a", "(unknown)"]
    assert record["differences"][0]["demographic_parity"] is None


def test_the_interval_of_the_worst_gap_is_that_of_resampled_members() -> None:
    """Right are 60 of 100 and 80 of 100: the gap is 0.1, its standard error (by the law of large numbers) 0.0316."""
    hit_N = np.concatenate([np.arange(100) < 60, np.arange(100) < 80])
    target_N = np.where(hit_N, 0, 1)
    actuals = Actuals(target_N, np.zeros(200, dtype=np.int64), np.ones(200), np.ones(200))
    groups = Dimension("age", ["a", "b"], np.repeat([0, 1], 100))
    p_NK = np.tile([0.7, 0.3], (200, 1))
    judging = Judging(min_members=1, call_share=0.1, num_resamples=2000, seed=3)
    (row,) = fairness_record(actuals, {"model": p_NK}, [groups], judging)["differences"]
    assert (row["worst_group"], row["worst_gap"]) == ("a", pytest.approx(0.1))
    error = np.sqrt(0.6 * 0.4 / 100 + 0.8 * 0.2 / 100) / 2
    assert (row["worst_gap_low"], row["worst_gap_high"]) == pytest.approx(
        (0.1 - 1.96 * error, 0.1 + 1.96 * error), abs=0.006
    )
    assert fairness_record(actuals, {"model": p_NK}, [groups], judging)["differences"] == [row]


def test_the_present_champion_stands_beside_the_model_in_the_differences_alone() -> None:
    record = fairness_record(ACTUALS, {"model": P_LEVEL, "champion": P_LEVEL[:, ::-1]}, [AGE], ALL)
    assert [(row["forecaster"], row["accuracy"]) for row in record["differences"]] == [
        ("model", 0.75),
        ("champion", 0.25),
    ]
    assert len(record["groups"]) == 2


def test_an_attribute_of_other_members_is_refused() -> None:
    with pytest.raises(DataQualityError, match="The numbers of rows differ: group 2, p_level 8, target 8"):
        fairness_record(ACTUALS, {"model": P_LEVEL}, [Dimension("age", ["a"], np.zeros(2, dtype=int))], ALL)


def test_the_called_are_the_likeliest_with_all_ties_and_nobody_who_cannot_move() -> None:
    p_N = np.array([0.5, 0.0, 0.2, 0.2, 0.1])
    assert likeliest(p_N, 0.2).tolist() == [True, False, False, False, False]
    assert likeliest(p_N, 0.4).tolist() == [True, False, True, True, False]
    assert likeliest(p_N, 1.0).tolist() == [True, False, True, True, True]


GROUPS = np.array(["a"] * 4 + ["b"] * 4, dtype=object)
MOVED = TARGET > NOW


def fitted(p_N: np.ndarray, moved_N: np.ndarray, group_N: np.ndarray, **settings: float) -> CallThresholds:
    given = {"share": 0.5, "min_members": 1, **settings}
    return fit_thresholds(p_N, moved_N, group_N, attribute="age", **given)


def test_each_group_has_the_threshold_that_finds_as_many_of_its_movers() -> None:
    """The list of four finds three of four movers; of a's two (0.9, 0.8) and b's (0.6, 0.3) that takes both."""
    found = fitted(P_UP, MOVED, GROUPS)
    assert found == CallThresholds("age", 0.6, {"a": 0.8, "b": 0.3})
    assert found.plain() == {"attribute": "age", "common": 0.6, "by_group": {"a": 0.8, "b": 0.3}}
    assert found.called(
        np.array([0.7, 0.7, 0.7, 0.5, 0.0]), np.array(["a", "b", None, "new", "b"], dtype=object)
    ).tolist() == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_a_threshold_of_nothing_calls_nobody_who_cannot_move() -> None:
    found = CallThresholds("age", 0.5, {"a": 0.0}).called(np.array([0.0, 0.1]), np.array(["a", "a"], dtype=object))
    assert found.tolist() == [False, True]


def test_what_a_rule_costs_is_counted_on_other_members() -> None:
    rules = call_costs(CallThresholds("age", 0.6, {"a": 0.8, "b": 0.3}), P_UP, MOVED, GROUPS)
    assert rules == [
        {
            "rule": "one for all",
            "called": 4,
            "called_share": 0.5,
            "right_share": 0.75,
            "found_share": 0.75,
            "found_gap": 0.5,
        },
        {
            "rule": "one for each group",
            "called": 5,
            "called_share": 0.625,
            "right_share": 0.8,
            "found_share": 1.0,
            "found_gap": 0.0,
        },
    ]
    nobody, _ = call_costs(CallThresholds("age", NOBODY, {}), P_UP, MOVED, GROUPS)
    assert (nobody["called"], nobody["right_share"], nobody["found_gap"]) == (0, None, None)


def test_small_groups_and_those_without_a_mover_take_the_threshold_of_all() -> None:
    group_N = np.array(["a", "a", "a", "b", "c", "c", None, None], dtype=object)
    assert fitted(P_UP, MOVED, group_N, min_members=2).by_group == {"a": 0.8}
    assert fitted(np.zeros(8), MOVED, GROUPS) == CallThresholds("age", NOBODY, {})


MEMBER = st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]), st.booleans(), st.sampled_from(["a", "b", "c", None]))


@given(st.lists(MEMBER, min_size=1, max_size=30), st.sampled_from([0.1, 0.3, 1.0]), st.integers(1, 4))
def test_thresholds_are_the_highest_of_all_that_find_enough(
    members: list[tuple[float, bool, str | None]], share: float, min_members: int
) -> None:
    p_N, moved_N = (np.array([member[place] for member in members]) for place in (0, 1))
    group_N = np.array([member[2] for member in members], dtype=object)
    found = fitted(p_N, moved_N, group_N, share=share, min_members=min_members)
    called = [p > 0 and p >= found.common for p, _, _ in members]
    movers = [number for number, (_, moved, _) in enumerate(members) if moved]
    aim = sum(called[number] for number in movers) / len(movers) if movers else 0.0
    expected = {}
    for name in ("a", "b", "c"):
        own = [(p, moved) for p, moved, group in members if group == name]
        of_movers = [p for p, moved in own if moved]
        enough = [t for t, _ in own if of_movers and sum(p >= t for p in of_movers) / len(of_movers) >= aim]
        if len(own) >= min_members and aim and of_movers:
            expected[name] = max(t for t in enough if t in of_movers)
    assert found.by_group == expected
