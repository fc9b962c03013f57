"""Whose score is kept: literal rows of a ledger and of encoded members."""

from datetime import date
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from memberlevel_spark.forecast_schemas import MEMBER_SCORES
from memberlevel_spark.scoring.incremental import equal
from memberlevel_spark.scoring.keeping import build_earlier, build_kept, build_matched

pytestmark = pytest.mark.spark
OLD, DAY, NEXT = date(2024, 3, 3), date(2024, 3, 10), date(2024, 3, 17)
NUMBERS = {field.name: 0.5 for field in MEMBER_SCORES.schema if field.dataType.typeName() == "double"}


def score(member: str, day: date, level: int, hashed: int, **changes: Any) -> dict[str, Any]:
    key = {"member_id": member, "as_of_date": day, "model_version": "m1", "level_now": level, "features_hash": hashed}
    told = {"level_predicted": 1, "p_level": [0.25, 0.75], "next_categories": [{"category": "tea", "p": 0.5}]}
    return {**key, **NUMBERS, **told, **changes}


def test_a_row_is_kept_for_an_equal_array_of_the_same_member_on_the_same_level(spark: SparkSession):
    ledger = [
        score("same", OLD, 0, 7, p_up=0.1),
        score("same", DAY, 0, 7, p_up=0.2),  # the latest of equal arrays
        score("same", DAY, 0, 8, p_up=0.3),
        score("another array", DAY, 0, 7),
        score("another level", DAY, 0, 7),
        score("not asked for", DAY, 0, 7),
    ]
    members = [
        ("same", NEXT, 0, 7),
        ("same", DAY, 0, 8),
        ("another array", NEXT, 0, 9),
        ("another level", NEXT, 1, 7),
        ("unknown", NEXT, 0, 7),
    ]
    columns = "member_id string, as_of_date date, level_now int, features_hash bigint"
    earlier = build_earlier(spark.createDataFrame(ledger, MEMBER_SCORES.schema))
    matched = build_matched(spark.createDataFrame(members, columns), earlier)
    assert matched.count() == len(members)
    kept = build_kept(matched)
    assert kept.columns == MEMBER_SCORES.schema.names
    found = sorted((row.asDict(recursive=True) for row in kept.collect()), key=lambda row: row["as_of_date"])
    assert found == [score("same", DAY, 0, 8, p_up=0.3), score("same", NEXT, 0, 7, p_up=0.2)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"p_buy": 0.5 + 0.9e-6}, True),
        ({"p_buy": 0.5 + 1.1e-6}, False),
        ({"expected_spend_cents": float("nan")}, False),
        ({"p_level": [0.25, 0.75 + 2e-6]}, False),
        ({"p_level": [0.25, 0.5, 0.25]}, False),
        ({"level_predicted": 0}, False),
        ({"features_hash": 8}, False),
        ({"next_categories": [{"category": "wine", "p": 0.5}]}, False),
        ({"next_categories": [{"category": "tea", "p": 0.6}]}, False),
        ({"next_categories": None}, False),
    ],
)
def test_two_scores_are_equal_when_their_numbers_agree_to_a_millionth(changes: dict[str, Any], expected: bool):
    def row(**more: Any) -> Row:
        told = {**score("a", DAY, 0, 7), **more}
        categories = told["next_categories"]
        return Row(**{**told, "next_categories": categories and [Row(**one) for one in categories]})

    assert equal(row(**changes), row()) is expected


def test_amounts_are_equal_relative_to_their_size():
    large = Row(**score("a", DAY, 0, 7, expected_spend_cents=50_000.0, next_categories=None))
    for amount, expected in ((50_000.04, True), (50_000.06, False)):
        other = Row(**score("a", DAY, 0, 7, expected_spend_cents=amount, next_categories=None))
        assert equal(other, large) is expected
