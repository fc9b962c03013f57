"""The gate: what lets a model become champion, each question by itself; and the numbers it decides by."""

from typing import Any

import numpy as np
import pytest

from memberlevel_spark.config.model import GateConfig
from memberlevel_spark.evaluation.evidence import comparisons, ece_by_chance, evidence
from memberlevel_spark.evaluation.forecasts import Actuals
from memberlevel_spark.registry.gate import decide

RULES = GateConfig(boosted_tree_margin=0.01, max_ece=0.02, max_slice_lag=0.02)
BETTER = {"mean": -0.1, "low": -0.2, "high": -0.05}
PERSISTENCE = {"accuracy": 0.8, "macro_f1": 0.7}
SLICE = {"dimension": "tenure", "slice": "new", "members": 10_000, "accuracy": 0.8, "persistence_accuracy": 0.8}
EVALUATION: dict[str, Any] = {
    "num_members": 10_000,
    "test": {"model": {"accuracy": 0.9, "macro_f1": 0.8, "ece": 0.015}, "persistence": PERSISTENCE},
    "comparisons": {"persistence": {"log_loss": BETTER}, "boosted_tree": {"log_loss": BETTER}},
    "ece_by_chance": 0.005,
    "champion": None,
    "slices": [SLICE],
}


def with_model(**metrics: float | None) -> dict[str, Any]:
    return {**EVALUATION, "test": {"model": {**EVALUATION["test"]["model"], **metrics}, "persistence": PERSISTENCE}}


def with_difference(name: str, mean: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    told = {**EVALUATION["comparisons"], name: {"log_loss": {"mean": mean, "low": low, "high": high}}}
    return {**EVALUATION, "comparisons": told}


def against_champion(mean: float | None) -> dict[str, Any]:
    compared = with_difference("champion", mean, -0.1, 0.1)
    return {**compared, "champion": {"model_version": "mold", "why_not": None}}


def with_slices(**values: Any) -> dict[str, Any]:
    return {**EVALUATION, "slices": [SLICE, {**SLICE, "slice": "old", **values}]}


def test_a_model_that_is_better_in_all_passes_with_its_numbers() -> None:
    decision = decide(EVALUATION, [], RULES)
    assert decision.passed and decision.failed == ()
    assert decision.reasons == (
        "persistence: log_loss -0.1000 (-0.2000 to -0.0500) less than its own: passed",
        "persistence: accuracy 0.9000 against 0.8000 (may lag 0.0080): passed",
        "persistence: macro_f1 0.8000 against 0.7000 (may lag 0.0080): passed",
        "boosted_tree: log_loss -0.1000 (-0.2000 to -0.0500) (may be surely worse by 0.0100): passed",
        "calibration: error 0.0150, by chance 0.0050 (may be 0.0200 above): passed",
        "slices: none of 1 is surely worse (bound 0.0200): passed",
        "canaries: all forecasts are possible: passed",
    )


@pytest.mark.parametrize(
    ("evaluation", "passes"),
    [
        (with_difference("persistence", 0.0, -0.1, 0.1), False),
        (with_difference("persistence", None, None, None), False),
        (with_difference("persistence", -0.01, -0.1, 0.1), True),  # in the mean better; not surely so
        (with_model(accuracy=0.79), False),
        (with_model(accuracy=0.795), True),  # within two standard errors of 0.8 on 10,000 members
        (with_model(macro_f1=0.69), False),
        (with_model(macro_f1=None), False),
        (with_difference("boosted_tree", 0.02, 0.011, 0.03), False),
        (with_difference("boosted_tree", 0.02, 0.009, 0.03), True),  # perhaps within the margin
        (with_difference("boosted_tree", 0.02, None, None), False),
        (with_difference("boosted_tree", None, None, None), False),
        (with_model(ece=0.0251), False),
        (with_model(ece=0.0249), True),  # 0.005 are by chance
        (with_model(ece=None), False),
        (with_slices(accuracy=0.77), False),
        (with_slices(accuracy=0.775), True),  # 0.025 behind, of which 0.008 may be chance
        (with_slices(accuracy=0.77, members=500), True),
        (with_slices(accuracy=None, persistence_accuracy=None, members=3), True),  # too small to be judged
        (against_champion(-0.001), True),
        (against_champion(0.0), False),
        (against_champion(None), False),
    ],
)
def test_one_question_that_is_answered_badly_is_enough_to_fail(evaluation: dict[str, Any], passes: bool) -> None:
    decision = decide(evaluation, [], RULES)
    assert decision.passed is passes
    assert len(decision.failed) == (0 if passes else 1)


def test_a_champion_that_cannot_be_compared_is_told_and_stands_in_nobodys_way() -> None:
    decision = decide({**EVALUATION, "champion": {"model_version": "mold", "why_not": "no features"}}, [], RULES)
    assert decision.passed
    assert "champion: mold cannot be compared: no features: passed" in decision.reasons


def test_an_impossible_canary_fails() -> None:
    decision = decide(EVALUATION, ["2 numbers are not finite"], RULES)
    assert decision.failed == ("canaries: 2 numbers are not finite: failed",)


TARGET, NOW = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
MEMBERS = np.array(["a", "b", "c", "d"])
RIGHT = np.array([[0.8, 0.2], [0.2, 0.8], [0.2, 0.8], [0.8, 0.2]])
WRONG = RIGHT[:, ::-1]


def test_differences_are_the_models_less_the_rivals_with_an_interval_around_them() -> None:
    told = comparisons(MEMBERS, NOW, TARGET, {"model": RIGHT, "rival": WRONG}, num_resamples=50, seed=1)
    gap = -np.log(0.8) + np.log(0.2)
    assert told == {
        "rival": {
            "log_loss": {"mean": pytest.approx(gap), "low": pytest.approx(gap), "high": pytest.approx(gap)},
            "accuracy": {"mean": 1.0, "low": 1.0, "high": 1.0},
        }
    }
    mixed = np.array([RIGHT[0], WRONG[1], RIGHT[2], RIGHT[3]])
    interval = comparisons(MEMBERS, NOW, TARGET, {"model": RIGHT, "rival": mixed}, num_resamples=50, seed=1)["rival"]
    assert interval["accuracy"]["mean"] == 0.25
    assert interval["accuracy"]["low"] == 0.0 and 0.25 < (interval["accuracy"]["high"] or 0) <= 1.0


def test_without_resamples_there_is_no_interval_and_nothing_by_chance() -> None:
    actuals = Actuals(TARGET, NOW, np.ones(4), np.ones(4))
    found = evidence(actuals, MEMBERS, {"model": RIGHT, "rival": WRONG}, num_resamples=0, seed=1)
    assert found["comparisons"]["rival"]["accuracy"] == {"mean": 1.0, "low": None, "high": None}
    assert found["ece_by_chance"] == 0.0


def test_the_error_by_chance_falls_with_members_and_is_nothing_for_the_sure() -> None:
    few, many = (np.tile([[0.7, 0.3]], (n, 1)) for n in (50, 5_000))
    by_chance = [ece_by_chance(p_NK, num_draws=200, seed=3) for p_NK in (few, many)]
    # One bin: |share - 0.3| of n draws, whose 97.5 % point is 2.24 standard deviations of a share.
    assert by_chance == [pytest.approx(2.24 * np.sqrt(0.21 / n), rel=0.25) for n in (50, 5_000)]
    sure = np.tile([[1.0, 0.0]], (50, 1))
    assert ece_by_chance(sure, num_draws=20, seed=3) == 0.0
