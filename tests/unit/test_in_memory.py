"""What Spark's expressions make of a row, of one row in memory: encoded features, a score, reasons."""

import math

import numpy as np
import pyarrow as pa
import pytest

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.scoring.apply import with_result
from memberlevel_spark.scoring.ledger import score_values
from memberlevel_spark.scoring.reasons import told_reasons

ENCODER = Encoder(
    (Input("days_since", when_null=7), Input("city", equals=2), Input("weekly_spend", 1)),
    num_levels=2,
    means=(0.0, 0.5, 1.0),
    deviations=(1.0, 0.5, 0.25),
    needs=(Need("spend", 1, "to_level_1"), Need("points", 1, always=1e12)),
)


def columns(**changes: list[float]) -> dict[str, np.ndarray]:
    given = {"days_since": [0.0], "city": [2.0], "level_now": [0.0], "level_if_idle": [0.0], "to_level_1": [9.0]}
    made: dict[str, np.ndarray] = {name: np.array(values) for name, values in {**given, **changes}.items()}
    return {**made, "weekly_spend": np.array([[5.0, -math.expm1(1.5)]] * len(made["city"]))}


def test_encoded_features_of_columns_in_memory():
    # log1p of the second week is -1.5: ten deviations below the mean, so it is clipped.
    assert ENCODER.encode_columns(columns()).tolist() == [
        [0.0, pytest.approx((math.log(2) - 0.5) / 0.5), -5.0, 1.0, 0.0, 9.0, np.float32(1e12)]
    ]


def test_a_null_takes_the_value_of_its_declaration_and_a_null_index_is_no_entry():
    (row,) = ENCODER.encode_columns(columns(days_since=[math.nan], city=[math.nan])).tolist()
    assert row[0] == pytest.approx(math.log1p(7)) and row[1] == -1.0


def test_a_level_that_is_reached_by_itself_needs_nothing():
    assert ENCODER.encode_columns(columns(level_if_idle=[1.0]))[0, -2:].tolist() == [0.0, 0.0]


def test_rows_are_encoded_each_by_itself():
    both = columns(
        days_since=[0.0, 3.0], city=[2.0, 3.0], level_now=[0.0, 1.0], level_if_idle=[0.0, 1.0], to_level_1=[9.0, 0.0]
    )
    assert ENCODER.encode_columns(both)[0].tolist() == ENCODER.encode_columns(columns())[0].tolist()
    assert ENCODER.encode_columns(both)[1, 3:5].tolist() == [0.0, 1.0]


def test_a_column_that_is_missing_is_named():
    without = {name: values for name, values in columns().items() if name != "to_level_1"}
    with pytest.raises(ArtefactError, match="features the model was trained on are missing: to_level_1"):
        ENCODER.encode_columns(without)


def test_a_score_of_a_forecast():
    forecast = [0.125, 0.25, 0.5, 0.125, 0.75, 2.5, 4000.0, 0.0, 3000.0, 9000.0]
    assert score_values(forecast, level_now=1) == {
        "level_now": 1,
        "level_predicted": 2,
        "p_level": [0.125, 0.25, 0.5, 0.125],
        "p_up": 0.625,
        "p_down": 0.125,
        "expected_level": 1.625,
        "p_churn": 0.25,
        "p_buy": 0.75,
        "expected_orders": 2.5,
        "expected_spend_cents": 4000.0,
        "spend_cents_low": 0.0,
        "spend_cents_median": 3000.0,
        "spend_cents_high": 9000.0,
        "next_categories": None,
    }


def test_the_next_categories_of_a_score_are_the_likeliest_three_and_of_equal_ones_the_first():
    forecast = [0.5, 0.5, 0.5, 2.5, 4000.0, 0.0, 3000.0, 9000.0, 0.25, 0.125, 0.25, 0.375]
    told = score_values(forecast, level_now=0, categories=("tea", "milk", "rice", "(other)"))
    assert told["p_level"] == [0.5, 0.5] and told["spend_cents_high"] == 9000.0
    assert told["next_categories"] == [
        {"category": "(other)", "p": 0.1875},
        {"category": "tea", "p": 0.125},
        {"category": "rice", "p": 0.125},
    ]


def test_of_equally_likely_levels_the_lowest_is_predicted_and_a_chance_is_never_above_1():
    shares = [0.0, 0.5, 0.5 + 2**-52]
    assert score_values([0.5, 0.5, *[0.0] * 6], level_now=0)["level_predicted"] == 0
    assert score_values([*shares, *[0.0] * 6], level_now=0)["p_up"] == 1.0


def test_reasons_come_largest_first_equal_ones_by_their_words_and_none_without_effect():
    words = ("spend", "orders", "items", "level and progress")
    up = [0.5, 0.25, 0.01, 0.1, -0.2, 0.0, -0.1]
    told = told_reasons([*up, *[0.0] * 7, *[1.0] * 7], words)
    assert (told["p_up"], told["typical_p_up"], told["unexplained_p_up"]) == (0.5, 0.25, 0.01)
    assert [(reason["topic"], reason["effect"]) for reason in told["reasons_up"]] == [
        ("orders", -0.2),
        ("level and progress", -0.1),
        ("spend", 0.1),
    ]
    assert told["reasons_down"] == [] and len(told["reasons_buy"]) == 4 and told["unexplained_p_buy"] == 1.0


def test_a_model_that_does_not_answer_for_every_row_is_refused():
    batch = pa.record_batch({"member_id": ["a", "b"], "features": [[1.0], [2.0]]})
    with pytest.raises(ArtefactError, match="does not answer for every row: 1 forecasts of 2 rows"):
        with_result(batch, np.zeros((1, 3)), name="forecast")
