"""Typical members, reasons and advice as tables; what the report and the page of a member make of them."""

import json
from datetime import date

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from safetensors.torch import save

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.examples.typical import TypicalMembers, build_sums
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.report.tips import nearest, tips, with_tips
from memberlevel_spark.scoring.advice import Adviser, build_advice
from memberlevel_spark.scoring.predictor import PackedModel, predict
from memberlevel_spark.scoring.reasons import Reasoner, build_reasons

pytestmark = pytest.mark.spark

DAY = date(2024, 3, 10)
MEMBERS = "member_id string, as_of_date date, level_now int, features array<float>"


def test_typical_members_are_the_means_of_their_level_and_of_all_where_nobody_held_it(spark: SparkSession):
    rows = [
        ("a", DAY, 0, [1.0, 10.0, 7.0]),
        ("b", DAY, 0, [2.0, 30.0, 7.0]),
        ("c", DAY, 2, [6.0, 1e12, 7.0]),
    ]
    sums = build_sums(spark.createDataFrame(rows, MEMBERS).repartition(3), num_elements=2).collect()
    typical = TypicalMembers.of_sums(sums, 3)
    assert typical.means == ((1.5, 20.0), (3.0, (40 + float(np.float32(1e12))) / 3), (6.0, float(np.float32(1e12))))
    assert TypicalMembers.from_json(typical.to_json()) == typical


@pytest.mark.parametrize("text", ["{", "{}", '{"means": [[1], [1, 2]]}', '{"means": [["x"]]}'])
def test_damaged_typical_members_are_refused(text: str):
    with pytest.raises(ArtefactError, match="the typical members cannot be read"):
        TypicalMembers.from_json(text)


ENCODER = Encoder(
    (Input("spend_cents_sum_28d"), Input("num_orders_days_since")),
    num_levels=3,
    means=(5.0, 2.0),
    deviations=(2.0, 1.0),
    needs=(Need("spend_cents", 1), Need("spend_cents", 2)),
)


def packed() -> PackedModel:
    rules = {"level_head": "gate", "metrics": ("spend_cents",)}
    spec = ModelSpec(name="mlp", num_features=7, num_levels=3, hidden=(8,), dropout=0.1, **rules)
    return PackedModel(save(build_network(spec).state_dict()), json.dumps(spec.to_dict()))


def encoded(spark: SparkSession, number: int) -> DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for i in range(number):
        level = i % 3
        needs = [0.0 if level >= k else float(rng.integers(100, 9000)) for k in (1, 2)]
        rows.append((f"m{i:03d}", DAY, level, [*rng.normal(size=2).tolist(), *np.eye(3)[level].tolist(), *needs]))
    return spark.createDataFrame(rows, MEMBERS)


def test_effects_add_up_to_the_difference_and_the_largest_comes_first(spark: SparkSession):
    model, members = packed(), encoded(spark, 60).repartition(3)
    typical = np.zeros((3, 7), dtype=np.float32)
    typical[:, 2:5] = np.eye(3)
    topics = ("spend", "how recently, how often", *["level and progress"] * 3)
    reasoner = Reasoner(model, typical, topics, num_steps=32)
    rows = build_reasons(members, reasoner, "m1").orderBy("member_id").collect()
    matrix = np.array(members.orderBy("member_id").toPandas()["features"].to_list(), dtype=np.float32)
    p_level = predict(model, matrix)
    assert len(rows) == 60 and {row["model_version"] for row in rows} == {"m1"}
    for place, row in enumerate(rows):
        level = place % 3
        assert row["p_up"] == pytest.approx(p_level[place, level + 1 : 3].sum(), abs=1e-6)
        for outcome in ("up", "down", "buy"):
            reasons = row[f"reasons_{outcome}"]
            effects = [reason["effect"] for reason in reasons]
            assert [abs(e) for e in effects] == sorted((abs(e) for e in effects), reverse=True)
            total = row[f"typical_p_{outcome}"] + sum(effects) + row[f"unexplained_p_{outcome}"]
            assert total == pytest.approx(row[f"p_{outcome}"], abs=1e-6)
            assert "latest events" not in {reason["topic"] for reason in reasons}
        assert row["reasons_up"] == [] or level < 2


def test_advice_has_a_row_per_member_and_goal_and_never_asks_for_more_than_the_rules(spark: SparkSession):
    adviser = Adviser(ENCODER, likely=0.5, at_once=True, every_metric=True)
    rows = build_advice(encoded(spark, 60).repartition(3), adviser, packed(), "m1").collect()
    goals = {(row["level_now"], row["goal"], row["target_level"]) for row in rows}
    assert goals == {(0, "rise", 1), (1, "rise", 2), (1, "keep", 1), (2, "keep", 2)} and len(rows) == 80
    for row in rows:
        assert (row["as_of_date"], row["model_version"], row["metric"]) == (DAY, "m1", "spend_cents")
        if row["needed"]:
            assert 0 <= row["extra"] <= row["needed"] and row["p_with_extra"] >= 0.5
        if row["extra"] == 0:
            assert row["p_now"] == row["p_with_extra"] >= 0.5


ADVICE = "member_id string, goal string, target_level int, metric string, extra bigint"


def test_tips_count_members_by_what_they_need_and_movers_are_told_theirs(spark: SparkSession):
    rows = [("a", 0), ("b", 100), ("c", 300), ("d", 200), ("e", 400), ("f", None)]
    advice = spark.createDataFrame([(m, "rise", 1, "spend_cents", extra) for m, extra in rows], ADVICE)
    advice = advice.unionByName(spark.createDataFrame([("a", "keep", 1, "spend_cents", 9)], ADVICE))
    found = [tuple(row) for row in tips(advice).collect()]
    assert found == [
        ("rise", 1, "spend_cents", 6, 1, 4, 1, 100, 200),
        ("keep", 1, "spend_cents", 1, 0, 1, 0, 9, 9),
    ]
    movers = spark.createDataFrame([("a", 0.5), ("c", 0.9), ("z", 0.1)], "member_id string, p_move double")
    told = "array<struct<topic:string,effect:double>>"
    reasons = spark.createDataFrame(
        [("a", [("spend", 0.1)], [("orders", 0.2)])], f"member_id string, reasons_up {told}, reasons_down {told}"
    )
    up, down = (with_tips(movers, reasons, advice, way=way, metric="spend_cents").collect() for way in ("up", "down"))
    assert [(row["member_id"], row["extra"]) for row in up] == [("c", 300), ("a", 0), ("z", None)]
    assert [(row["member_id"], row["extra"]) for row in down] == [("c", None), ("a", 9), ("z", None)]
    assert [row["reasons"] and row["reasons"][0]["topic"] for row in up] == [None, "spend", None]
    assert down[1]["reasons"][0]["topic"] == "orders"


def test_progress_is_no_reason_beside_itself_and_the_nearest_need_least(spark: SparkSession):
    told = "array<struct<topic:string,effect:double>>"
    rows = [("a", [("level and progress", 0.9), ("spend", 0.1)])]
    reasons = spark.createDataFrame(rows, f"member_id string, reasons_up {told}")
    movers = spark.createDataFrame([("a", 0.5)], "member_id string, p_move double")
    advice = spark.createDataFrame([], ADVICE)
    (row,) = with_tips(movers, reasons, advice, way="up", metric="points").collect()
    assert [reason["topic"] for reason in row["reasons"]] == ["spend"]
    columns = "member_id string, level_now int, goal string, target_level int, metric string, p_now double"
    found = [("a", "rise", 0), ("b", "rise", 300), ("c", "rise", 20), ("d", "keep", 5), ("e", "rise", None)]
    advice = spark.createDataFrame(
        [(m, 0, goal, 1, "points", 0.2, extra, 400) for m, goal, extra in found],
        f"{columns}, extra bigint, needed bigint",
    )
    assert [tuple(r) for r in nearest(advice, metric="points", limit=5).collect()] == [
        ("c", 0, 1, 0.2, 20, 400),
        ("b", 0, 1, 0.2, 300, 400),
    ]
    assert nearest(advice, metric="spend_cents", limit=5).count() == 0
