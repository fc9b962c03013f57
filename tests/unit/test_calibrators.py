"""Calibrators: what they are fitted to, against scikit-learn and literal rows; how they are kept; what is refused."""

import json
import logging
import math
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.models.calibrators import Calibrators, Curve
from memberlevel_spark.scoring.predictor import NUMBERS
from memberlevel_spark.training.calibration import HEADS, fit_calibrators, fit_p_buy, fit_spend, fit_temperature

SOME = Calibrators(1.25, Curve((0.1, 0.4), (0.2, 0.7)), Curve((0.0, 100.0, 300.0), (0.0, 50.0, 350.0)))


def forecast(num_rows: int, seed: int = 1) -> np.ndarray:
    """Three levels and the numbers, with spend of 1000 cents given an order."""
    random = np.random.default_rng(seed)
    p_level, p_buy = softmax(random.normal(size=(num_rows, 3)), axis=1), random.uniform(0.05, 0.95, num_rows)
    numbers = {**dict.fromkeys(NUMBERS, p_buy), "expected_spend_cents": p_buy * 1000}
    return np.column_stack([p_level, *numbers.values()])


def happened(num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels 0, 1, 2 in turn; every second member places an order of 500 cents."""
    number = np.arange(num_rows)
    return number % 3, np.column_stack([number % 2, number % 2 * 500.0])


def test_where_the_likelier_of_two_levels_comes_true_less_often_than_said_the_temperature_is_what_it_must_be() -> None:
    """0.9 is said and 7 of 10 come true: softmax(log p / T) is 0.7 where logit(0.9) / T = logit(0.7)."""
    p_level, target = np.tile([0.9, 0.1], (10, 1)), np.array([0] * 7 + [1] * 3)
    expected = math.log(9) / math.log(7 / 3)
    assert fit_temperature(p_level, target) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("planted", [0.6, 1.0, 1.8])
def test_a_planted_temperature_is_found(planted: float) -> None:
    random = np.random.default_rng(3)
    said = random.normal(size=(40_000, 4)) * 2
    target = (softmax(said / planted, axis=1).cumsum(axis=1) < random.random((40_000, 1))).sum(axis=1)
    assert fit_temperature(softmax(said, axis=1), target) == pytest.approx(planted, rel=0.03)


def test_chances_that_fall_where_they_should_rise_are_pooled_and_none_is_sure() -> None:
    curve = fit_p_buy(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1]))
    assert curve.x == (0.1, 0.2, 0.3, 0.4)
    assert curve.y == pytest.approx((1 / 6, 0.5, 0.5, 5 / 6))


def test_p_buy_is_the_isotonic_regression_of_sklearn() -> None:
    random = np.random.default_rng(4)
    p = random.random(500)
    bought = random.random(500) < p**2
    oracle = IsotonicRegression(y_min=1 / 502, y_max=501 / 502, out_of_bounds="clip").fit(p, bought)
    asked = np.concatenate([p, np.linspace(0, 1, 333)])
    found = Calibrators(p_buy=fit_p_buy(p, bought)).calibrated_p_buy(asked)
    np.testing.assert_allclose(found, oracle.predict(asked), rtol=1e-12)
    assert found.min() == pytest.approx(1 / 502)
    assert (np.diff(found[np.argsort(asked)]) >= 0).all()


def test_a_planted_bias_of_the_spend_is_found_and_taken_out() -> None:
    random = np.random.default_rng(5)
    expected = random.gamma(2, 3000, 50_000)
    realised = np.where(expected > 6000, 0.5, 1.2) * expected * random.gamma(4, 0.25, 50_000)
    curve = fit_spend(expected, realised)
    assert curve is not None
    calibrated = Calibrators(spend_cents=curve).calibrated_spend(np.array([0.0, 1000.0, 2000.0, 12_000.0, 80_000.0]))
    # Above 6000 members spend less than those just below it, which no rising curve can say: there it is their mean.
    assert calibrated[:3] == pytest.approx([0, 1200, 2400], rel=0.05)
    assert calibrated[4] == pytest.approx(40_000, rel=0.05)
    assert Calibrators(spend_cents=curve).calibrated_spend(expected).sum() == pytest.approx(realised.sum(), rel=0.02)


def test_members_keep_their_order_by_expected_spend_also_where_tenths_are_pooled() -> None:
    expected = np.linspace(0, 10_000, 1000)
    curve = fit_spend(expected, expected[::-1].copy())
    assert curve is not None
    asked = np.linspace(0, 20_000, 777)
    calibrated = Calibrators(spend_cents=curve).calibrated_spend(asked)
    assert calibrated[0] == 0
    assert (np.diff(calibrated) > 0).all()
    # The poorest tenth is expected to spend 495 and spends 9505; all tenths are pooled to 5000.
    assert curve.x[1] == pytest.approx(495.495, abs=0.01)
    assert curve.y[1] == pytest.approx(0.99 * 5000 + 0.01 * 495.495, abs=0.01)


def test_the_spend_is_fitted_to_what_it_is_after_p_buy() -> None:
    """Twice as many buy as was said, and they spend half of what was expected of buyers."""
    said = forecast(3000)
    said[:, 3:] /= 2
    target, outcomes = happened(3000)
    found = fit_calibrators(said, target, outcomes_N2=outcomes, heads=("p_buy", "spend"))
    assert found.temperature == 1
    p_buy = found.calibrated_p_buy(said[:, 3])
    assert said[:, 3].mean() == pytest.approx(0.25, abs=0.01)
    assert p_buy.mean() == pytest.approx(0.5, abs=0.001)
    assert found.calibrated_spend(p_buy * 1000).mean() == pytest.approx(250, rel=0.02)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_that_is_not_asked_for_stays_as_it_is(head: str) -> None:
    target, outcomes = happened(600)
    found = fit_calibrators(forecast(600), target, outcomes_N2=outcomes, heads=(head,))
    untouched = {"level": found.temperature == 1, "p_buy": found.p_buy is None, "spend": found.spend_cents is None}
    assert [name for name, is_so in untouched.items() if not is_so] == [head]
    assert fit_calibrators(forecast(600), target, outcomes_N2=outcomes, heads=()) == Calibrators()


def test_too_few_rows_or_one_outcome_leave_a_head_as_it_is_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    target, outcomes = happened(199)
    assert fit_calibrators(forecast(199), target, outcomes_N2=outcomes, heads=HEADS) == Calibrators()
    target, outcomes = happened(300)
    assert fit_calibrators(forecast(300), target * 0, outcomes_N2=outcomes * 0, heads=HEADS) == Calibrators()
    assert fit_calibrators(forecast(300), target, outcomes_N2=outcomes * [1, 0], heads=("spend",)) == Calibrators()
    told = [record.getMessage().removeprefix("calibration of ") for record in caplog.records]
    assert told[0] == "level is left out: 199 rows of 3 kind(s), it takes 200 of 2"
    assert told[3:6] == [f"{head} is left out: 300 rows of 1 kind(s), it takes 200 of 2" for head in HEADS]
    assert told[6].startswith("spend is left out: 0 spent, ")


def test_json_brings_every_digit_back() -> None:
    target, outcomes = happened(900)
    for given in (Calibrators(), SOME, fit_calibrators(forecast(900), target, outcomes_N2=outcomes, heads=HEADS)):
        assert Calibrators.from_json(given.to_json()) == given


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"temperature": 0.0}, "the temperature is 0.0"),
        ({"temperature": math.nan}, "the temperature is nan"),
        ({"temperature": None}, "TypeError"),
        ({"p_buy": {"x": [0.1, 0.1], "y": [0.2, 0.3]}}, "p_buy is not finite and monotone"),
        ({"p_buy": {"x": [0.1, 0.2], "y": [0.3, 0.2]}}, "p_buy is not finite and monotone"),
        ({"p_buy": {"x": [0.1, 0.2], "y": [0.3]}}, "p_buy is not finite and monotone"),
        ({"p_buy": {"x": [], "y": []}}, "p_buy is not finite and monotone"),
        ({"p_buy": {"x": [0.1], "y": [0.0]}}, "p_buy leaves the range from 0 to 1"),
        ({"p_buy": {"x": [0.1]}}, "KeyError 'y'"),
        ({"spend_cents": {"x": [0, 1], "y": [0, math.inf]}}, "spend_cents is not finite and monotone"),
        ({"spend_cents": {"x": [1, 2], "y": [0, 1]}}, r"spend_cents does not begin at \(0, 0\)"),
        ({"spend_cents": {"x": [0], "y": [0]}}, r"spend_cents does not begin at \(0, 0\)"),
        ({"isotonic": 1}, "its keys are isotonic, p_buy, spend_cents, temperature"),
    ],
)
def test_damaged_calibrators_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ArtefactError, match=rf"calibrators.json is damaged: .*{told}.*\. Train again"):
        Calibrators.from_json(json.dumps(json.loads(SOME.to_json()) | changes))


@pytest.mark.parametrize("text", ["", "[]", "3", SOME.to_json()[:-9]])
def test_what_is_no_json_of_calibrators_is_refused(text: str) -> None:
    with pytest.raises(ArtefactError, match=r"calibrators.json is damaged"):
        Calibrators.from_json(text)


def test_beyond_its_last_point_spend_goes_on_by_that_points_ratio_and_a_chance_stays() -> None:
    assert SOME.calibrated_spend(np.array([0.0, 50.0, 200.0, 300.0, 600.0])).tolist() == [0, 25, 200, 350, 700]
    assert SOME.calibrated_p_buy(np.array([0.0, 0.1, 0.25, 0.4, 1.0])) == pytest.approx([0.2, 0.2, 0.45, 0.7, 0.7])
