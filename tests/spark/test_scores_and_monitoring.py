"""Score columns, the two Spark paths and expected migration."""

import json
import os
import subprocess
import sys
from datetime import date

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from safetensors.torch import save

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.monitoring.migration import build_migration
from memberlevel_spark.report.history import movers, weekly_levels, weekly_spend
from memberlevel_spark.scoring.apply import apply_model, feature_matrix
from memberlevel_spark.scoring.ledger import build_scores
from memberlevel_spark.scoring.predictor import NUMBERS, PackedModel, load_network, predict
from memberlevel_spark.training.stage import validation_forecast

pytestmark = pytest.mark.spark

DAY = date(2024, 3, 10)


def predicted(spark: SparkSession) -> DataFrame:
    numbers = (0.75, 2.5, 4200.0, 0.0, 3900.0, 9000.0)
    levels = [
        ("a", DAY, 0, 11, [0.7, 0.2, 0.1]),
        ("b", DAY, 1, 12, [0.2, 0.3, 0.5]),
        ("c", DAY, 2, 13, [0.1, 0.2, 0.7]),
    ]
    columns = ", ".join(f"{name} double" for name in NUMBERS)
    return spark.createDataFrame(
        [(*row, *numbers) for row in levels],
        f"member_id string, as_of_date date, level_now int, features_hash bigint, p_level array<double>, {columns}",
    )


def test_up_is_the_mass_above_the_level_down_the_mass_below(spark: SparkSession):
    rows = build_scores(predicted(spark), "m1").orderBy("member_id").collect()
    assert [(r.level_predicted, r.model_version) for r in rows] == [(0, "m1"), (2, "m1"), (2, "m1")]
    assert [(r.p_up, r.p_down, r.expected_level) for r in rows] == [
        (pytest.approx(0.3), 0.0, pytest.approx(0.4)),
        (0.5, 0.2, pytest.approx(1.3)),
        (0.0, pytest.approx(0.3), pytest.approx(1.6)),
    ]


def test_the_numbers_of_a_forecast_become_columns_and_churn_is_what_is_left_of_buying(spark: SparkSession):
    row = build_scores(predicted(spark), "m1").first()
    assert row is not None
    assert [row[name] for name in NUMBERS] == [0.75, 2.5, 4200.0, 0.0, 3900.0, 9000.0]
    assert row.p_churn == 0.25


def packed(num_features: int = 5, periodic: int = 0) -> PackedModel:
    """By rules, from the needs of two levels at the end of the features."""
    rules = {"level_head": "gate", "metrics": ("spend_cents",), "periodic": periodic}
    spec = ModelSpec(name="mlp", num_features=num_features, num_levels=3, hidden=(8,), dropout=0.1, **rules)
    weights = save(build_network(spec).state_dict())
    return PackedModel(weights, json.dumps(spec.to_dict()))


def encoded(spark: SparkSession, rows: int) -> DataFrame:
    rng = np.random.default_rng(1)
    data = [(f"m{i:04d}", DAY, i % 3, [float(x) for x in rng.normal(size=5)]) for i in range(rows)]
    return spark.createDataFrame(data, "member_id string, as_of_date date, level_now int, features array<float>")


def test_both_spark_paths_and_the_driver_give_the_same_probabilities(spark: SparkSession):
    model, frame = packed(), encoded(spark, 700).repartition(3)
    paths = [
        apply_model(frame, model, method=method).orderBy("member_id").toPandas()
        for method in ("map_in_arrow", "pandas_udf")
    ]
    matrix = np.array(frame.orderBy("member_id").toPandas()["features"].to_list(), dtype=np.float32)
    direct = predict(model, matrix)
    for frame_ in paths:
        assert np.abs(np.stack(frame_["p_level"].to_list()) - direct[:, :3]).max() <= 1e-6
        np.testing.assert_allclose(frame_[list(NUMBERS)].to_numpy(), direct[:, 3:], rtol=1e-6)
    assert np.abs(direct[:, :3].sum(axis=1) - 1).max() < 1e-12


def test_the_numbers_of_a_forecast_agree_with_each_other():
    features = np.random.default_rng(1).normal(size=(500, 5)).astype(np.float32) * 4
    numbers = dict(zip(NUMBERS, predict(packed(), features)[:, 3:].T, strict=True))
    assert ((numbers["p_buy"] > 0) & (numbers["p_buy"] < 1)).all()
    assert (numbers["expected_orders"] >= numbers["p_buy"]).all()  # whoever orders places one order at least
    assert (numbers["expected_spend_cents"] >= 0).all()
    low, median, high = (numbers[f"spend_cents_{name}"] for name in ("low", "median", "high"))
    assert (low <= median).all() and (median <= high).all()
    # Where no order is likelier than the share below a bound, the bound is nothing.
    for bound, share in ((low, 0.1), (median, 0.5), (high, 0.9)):
        assert (bound[1 - numbers["p_buy"] > share + 1e-6] == 0).all()


ALONE_AND_TOGETHER = """
import numpy as np
from memberlevel_spark.scoring.predictor import predict
from tests.spark.test_scores_and_monitoring import packed

model, rows = packed(num_features=74, periodic=4), np.random.default_rng(2).normal(size=(300, 74)).astype(np.float32)
together = predict(model, rows)
for number in (1, 7, 150):
    assert (predict(model, rows[:number]) == together[:number]).all(), number
    assert (predict(model, rows[-number:]) == together[-number:]).all(), number
"""


def test_a_row_is_scored_the_same_to_the_bit_whatever_rows_come_with_it():
    """In a process of its own, as a worker is: the library of products looks at its setting once."""
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    subprocess.run([sys.executable, "-c", ALONE_AND_TOGETHER], check=True, env=environment)


def test_calibrators_are_fitted_to_validation_rows_and_to_no_others(spark: SparkSession):
    """Rows of other dates have no features here: reading one of them would stop the predictor."""
    columns = [F.lit(1).alias("target_level"), F.xxhash64("member_id").alias("row_key")]
    columns += [F.array(F.lit(2.0), F.lit(70.0)).cast("array<float>").alias("outcomes")]
    rows = encoded(spark, 60).select("*", *columns)
    split = F.element_at(F.array(*map(F.lit, ("train", "late", "validation", "test"))), F.col("level_now") + 2)
    parts = rows.select("*", split.alias("split")).withColumn(
        "features", F.when(F.col("split") == "validation", F.col("features"))
    )
    found = validation_forecast(parts, packed(), method="map_in_arrow")
    assert sorted(found["member_id"]) == [f"m{i:04d}" for i in range(60) if i % 3 == 1]
    assert found["row_key"].is_monotonic_increasing and found[list(NUMBERS)].notna().all(axis=None)
    assert set(found["outcomes"].map(tuple)) == {(2.0, 70.0)}


def test_the_network_is_loaded_once_per_process_and_model():
    model = packed()
    assert load_network(model) is load_network(PackedModel(model.weights, model.spec_json))


def test_null_features_are_refused_instead_of_shifting_rows():
    import pyarrow as pa

    for column in (pa.array([[1.0], None]), pa.array([[1.0], [None]]), pa.array([[1.0], [1.0, 2.0]])):
        with pytest.raises(ArtefactError, match="encoded features are null or ragged"):
            feature_matrix(column)


def test_expected_migration_sums_probabilities_and_keeps_the_number_of_members(spark: SparkSession):
    rows = build_migration(build_scores(predicted(spark), "m1")).collect()
    got = {(row.metric, row.slice): row.value for row in rows}
    assert got["members_expected", "1->2"] == 0.5 and got["members_now", "2"] == 1.0
    assert sum(value for (metric, _), value in got.items() if metric == "members_expected") == pytest.approx(3.0)


def test_movers_are_likeliest_first_and_say_what_is_missing_to_the_next_level(spark: SparkSession):
    columns = "member_id string, as_of_date date, level_points_now long, level_points_carry_over long,"
    columns += " to_level_1_points_carry_over long, to_level_2_points_carry_over long"
    features = spark.createDataFrame([(m, DAY, 5, 4, 10, 20) for m in "abc"], columns)
    rows = movers(
        build_scores(predicted(spark), "m1"), features, probability="p_up", limit=5, metric="points"
    ).collect()
    assert [(r.member_id, r.to_next) for r in rows] == [("b", 20), ("a", 10)]


def test_weekly_history_counts_each_day_in_one_week_and_each_member_in_one_level(spark: SparkSession):
    weeks = [date(2024, 3, 3), DAY]
    days = [(date(2024, 2, 25), 1), (date(2024, 2, 26), 2), (date(2024, 3, 3), 4), (date(2024, 3, 4), 8), (DAY, 16)]
    tiles = spark.createDataFrame(days, "day date, spend_cents long")
    assert [tuple(row) for row in weekly_spend(tiles, weeks).collect()] == [(weeks[0], 6), (weeks[1], 24)]
    stretches = spark.createDataFrame(
        [(date(2024, 1, 1), DAY, 0), (DAY, None, 1)], "valid_from date, valid_to date, level int"
    )
    assert sorted(tuple(row) for row in weekly_levels(stretches, weeks).collect()) == [(weeks[0], 0, 1), (DAY, 1, 1)]


def test_a_probability_mass_never_exceeds_one(spark: SparkSession):
    third = [1 / 3 + 1e-16, 1 / 3, 1 / 3]
    frame = (
        predicted(spark)
        .limit(1)
        .withColumns({"level_now": F.lit(-1), "p_level": F.array(*[F.lit(share) for share in third])})
    )
    assert build_scores(frame, "m1").select(F.max("p_up")).collect()[0][0] <= 1.0
