"""What-if features and the smallest amount that tips a member, on encoders and forecasters small enough to follow."""

import math

import numpy as np
import pytest

from memberlevel_spark.examples.build import OUT_OF_REACH
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.scoring.advice import Adviser
from memberlevel_spark.scoring.what_if import Lever

COLUMNS = (
    *("spend_cents_sum_28d", "spend_cents_count_28d", "spend_cents_sum", "num_orders_sum_28d"),
    *("level_spend_cents_now", "level_spend_cents_carry_over", "to_level_1_spend_cents_now", "to_keep_spend_cents"),
    "weekly_spend_cents",
)
NEEDS = (Need("spend_cents", 1), Need("spend_cents", 2))


def encoder(needs: tuple[Need, ...] = NEEDS, columns: tuple[str, ...] = COLUMNS) -> Encoder:
    """Logarithms as they are, but for the last input's place in the arrays of two weeks."""
    inputs = [Input(name) for name in columns if not name.startswith("weekly")]
    inputs += [Input(name, week) for name in columns if name.startswith("weekly") for week in (0, 1)]
    return Encoder(tuple(inputs), 3, (6.0,) * len(inputs), (3.0,) * len(inputs), needs)


def encoded(raw: dict[str, float], *, level: int = 0, needs: tuple[float, ...] = (0.0, 0.0)) -> np.ndarray:
    made = encoder()
    values = [(math.log1p(raw.get(item.name, 0.0)) - 6.0) / 3.0 for item in made.inputs]
    return np.array([[*values, *(float(k == level) for k in range(3)), *needs]], dtype=np.float32)


def decoded(features: np.ndarray) -> dict[str, int]:
    return {item.name: round(float(encoder().decode(item.name, features)[0])) for item in encoder().inputs}


def test_sums_this_weeks_tile_and_what_is_carried_over_grow_and_what_is_missing_shrinks():
    raw = dict.fromkeys((item.name for item in encoder().inputs), 1000.0) | {"to_keep_spend_cents": 100.0}
    more = Lever.of(encoder(), "spend_cents").with_more(encoded(raw, needs=(150.0, 2000.0)), np.array([250.0]))
    assert decoded(more) == {
        "spend_cents_sum_28d": 1250,
        "spend_cents_count_28d": 1000,
        "spend_cents_sum": 1250,
        "num_orders_sum_28d": 1000,
        "level_spend_cents_now": 1250,
        "level_spend_cents_carry_over": 1250,
        "to_level_1_spend_cents_now": 750,
        "to_keep_spend_cents": 0,
        "weekly_spend_cents_0": 1250,
        "weekly_spend_cents_1": 1000,
    }
    assert more[0, -2:].tolist() == [0.0, 1750.0]


def test_nothing_more_changes_nothing_and_what_was_clipped_lies_on_its_bound():
    features = encoded({"spend_cents_sum": 500.0})
    features[0, 0], features[0, 2] = 5.0, -5.0
    lever = Lever.of(encoder(), "spend_cents")
    np.testing.assert_allclose(lever.with_more(features, np.zeros(1)), features, atol=1e-6)
    more = lever.with_more(features, np.array([2e6]))
    assert more[0, 0] == 5.0
    raw = -math.expm1(5 * 3 - 6)  # what -5 stands for
    assert more[0, 2] == pytest.approx((math.log1p(2e6 + raw) - 6) / 3, abs=1e-6)


ADVISER = Adviser(encoder(), likely=0.5, at_once=True, every_metric=True)


def by_needs(features: np.ndarray) -> np.ndarray:
    """P(level >= k) falls from 1 to 0 as the need grows from 0 to 1000."""
    reached = np.clip(1 - features[:, -2:].astype(float) / 1000, 0, 1)
    return np.stack([1 - reached[:, 0], reached[:, 0] - reached[:, 1], reached[:, 1]], axis=1)


def advise(features: np.ndarray, level: int, goal: str, adviser: Adviser = ADVISER, forecaster=by_needs):
    found = adviser.advise(forecaster, features, np.array([level]), goal=goal, metric="spend_cents")
    return {name.removesuffix("_N"): value[0] for name, value in found._asdict().items()}


def test_the_smallest_amount_is_found_to_a_two_hundred_and_fifty_sixth_of_what_the_rules_ask_for():
    found = advise(encoded({}, needs=(800.0, 5000.0)), 0, "rise")
    assert (found["target_level"], found["needed"], found["monotone"]) == (1, 800.0, True)
    assert found["p_now"] == pytest.approx(0.2)
    assert 300 <= found["extra"] <= 300 + math.ceil(800 / 256) and found["p_with_extra"] >= 0.5


def test_keeping_is_about_the_level_held_and_nobody_keeps_the_lowest_or_rises_from_the_highest():
    assert advise(encoded({}, level=2, needs=(0.0, 600.0)), 2, "keep")["extra"] in range(100, 104)
    assert advise(encoded({}), 0, "keep")["target_level"] == -1
    assert advise(encoded({}), 2, "rise")["target_level"] == -1


def test_a_level_that_is_likely_anyway_needs_nothing_more():
    found = advise(encoded({}, needs=(400.0, 5000.0)), 0, "rise")
    assert (found["extra"], found["p_with_extra"]) == (0.0, pytest.approx(0.6))


def never(features: np.ndarray) -> np.ndarray:
    return np.tile([1.0, 0.0, 0.0], (len(features), 1))


def test_what_the_rules_ask_for_is_enough_where_levels_are_granted_at_once():
    found = advise(encoded({}, needs=(800.0, 5000.0)), 0, "rise", forecaster=never)
    assert (found["extra"], found["p_with_extra"]) == (800.0, 1.0)


def test_where_reviews_grant_levels_only_the_model_says_what_is_enough():
    reviews = Adviser(encoder(), likely=0.5, at_once=False, every_metric=True)
    found = advise(encoded({}, needs=(800.0, 5000.0)), 0, "rise", reviews, never)
    assert math.isnan(found["extra"]) and found["p_with_extra"] == 0.0


@pytest.mark.parametrize(("lacking", "every", "extra"), [(0.0, True, 800.0), (5.0, True, None), (5.0, False, 800.0)])
def test_another_metric_that_is_lacking_keeps_the_rules_from_granting_a_level(lacking, every, extra):
    both = encoder((*NEEDS, Need("num_orders", 1), Need("num_orders", 2)))
    features = np.concatenate([encoded({}, needs=(800.0, 5000.0)), [[lacking, 9.0]]], axis=1).astype(np.float32)
    found = advise(features, 0, "rise", Adviser(both, likely=0.5, at_once=True, every_metric=every), never)
    assert (None if math.isnan(found["extra"]) else found["extra"]) == extra


def test_a_metric_that_the_level_does_not_ask_for_is_no_way_to_it():
    found = advise(encoded({}, needs=(OUT_OF_REACH, OUT_OF_REACH)), 0, "rise", forecaster=never)
    assert math.isnan(found["needed"]) and math.isnan(found["extra"])


def test_a_chance_that_falls_on_the_way_is_told():
    def falls(features: np.ndarray) -> np.ndarray:
        up = np.where(features[:, -2] > 700, 0.3, np.where(features[:, -2] > 300, 0.1, 0.9))
        return np.stack([1 - up, up, 0 * up], axis=1)

    found = advise(encoded({}, needs=(800.0, 5000.0)), 0, "rise", forecaster=falls)
    assert not found["monotone"] and found["extra"] in range(500, 505)


def test_rows_are_searched_side_by_side_and_do_not_disturb_each_other():
    rows = np.concatenate([encoded({}, needs=(need, 5000.0)) for need in (100.0, 800.0, 990.0)])
    together = ADVISER.advise(by_needs, rows, np.zeros(3, dtype=np.int64), goal="rise", metric="spend_cents")
    alone = [advise(rows[place : place + 1], 0, "rise")["extra"] for place in range(3)]
    assert together.extra_N.tolist() == alone and alone[0] == 0
