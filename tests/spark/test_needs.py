"""What members need to each level, at the end of the encoded features."""

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.build import OUT_OF_REACH, level_needs
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.levels.rules import LevelRules

pytestmark = pytest.mark.spark


def rules(reach: str) -> LevelRules:
    """Gold asks for orders too."""
    programme = [
        {"name": "base"},
        {"name": "silver", "at_least": {"spend_cents": 100}},
        {"name": "gold", "at_least": {"spend_cents": 300, "num_orders": 4}},
    ]
    if reach == "any":
        programme[1]["at_least"], programme[2]["at_least"] = {"spend_cents": 100, "num_orders": 4}, {"spend_cents": 300}
    return LevelRules(LevelsConfig.model_validate({"window_days": 30, "reach": reach, "programme": programme}))


def test_every_metric_has_a_need_for_every_level_above_the_lowest() -> None:
    assert level_needs(rules("all")) == (
        Need("spend_cents", 1, "to_level_1_spend_cents_carry_over"),
        Need("spend_cents", 2, "to_level_2_spend_cents_carry_over"),
        Need("num_orders", 1, always=0.0),  # silver does not ask for orders: by them it is reached at once
        Need("num_orders", 2, "to_level_2_num_orders_carry_over"),
    )


def test_where_any_metric_will_do_one_that_a_level_does_not_name_never_reaches_it() -> None:
    assert level_needs(rules("any"))[2:] == (
        Need("num_orders", 1, "to_level_1_num_orders_carry_over"),
        Need("num_orders", 2, always=OUT_OF_REACH),
    )


COLUMNS = "x int, level_now int, level_if_idle int, to_level_1 bigint, to_level_2 bigint"
NEEDS = (Need("spend_cents", 1, "to_level_1"), Need("spend_cents", 2, "to_level_2"), Need("points", 2, always=7.0))


def test_needs_end_the_array_unscaled_and_are_nothing_for_a_level_that_is_reached_by_itself(spark: SparkSession):
    rows = spark.createDataFrame([(0, 1, 0, 150, 9_000_001), (0, 1, 1, 150, 350), (0, 1, 2, 0, 350)], COLUMNS)
    encoder = Encoder((Input("x"),), 3, (0.0,), (1.0,), NEEDS)
    got = [row[0][4:] for row in rows.select(encoder.encode()).collect()]
    assert got == [[150.0, 9_000_001.0, 7.0], [0.0, 350.0, 7.0], [0.0, 0.0, 0.0]]
    assert encoder.names[-3:] == (
        "needs_spend_cents_to_level_1",
        "needs_spend_cents_to_level_2",
        "needs_points_to_level_2",
    )
    assert (encoder.num_scaled, Encoder.from_json(encoder.to_json())) == (4, encoder)


def test_an_encoder_asks_for_the_columns_of_its_needs(spark: SparkSession):
    encoder = Encoder((Input("x"),), 3, (0.0,), (1.0,), NEEDS)
    frame = spark.createDataFrame([(0, 1, 5)], "x int, level_now int, to_level_1 bigint")
    with pytest.raises(ArtefactError, match=r"are missing: level_if_idle, to_level_2\. Train"):
        encoder.require_columns(frame)


def test_what_was_encoded_can_be_read_again(spark: SparkSession):
    import numpy as np

    rows = spark.createDataFrame([(0, 0, 0, 0, 0), (40, 0, 0, 0, 0), (-3, 0, 0, 0, 0)], COLUMNS)
    encoder = Encoder((Input("x"),), 1, (1.5,), (2.0,))
    encoded = np.array([row[0] for row in rows.select(encoder.encode()).collect()], dtype=np.float32)
    assert encoder.decode("x", encoded) == pytest.approx([0, 40, -3], abs=1e-4)
