"""Protected groups on literal rows: which profile counts on which day, and the number of a group among the examples."""

from datetime import date

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.examples.build import Groups, build_examples, examples_contract, join_outcomes
from memberlevel_spark.examples.encoder import Encoder, Input
from memberlevel_spark.examples.group_numbers import build_groups, group_number
from memberlevel_spark.features.groups import with_groups
from memberlevel_spark.schemas import EXAMPLES, MEMBERS

pytestmark = pytest.mark.spark

KEY = "member_id string, as_of_date date"
FIRST, MOVED, LEARNED, LATER = date(2024, 1, 1), date(2024, 5, 1), date(2024, 5, 20), date(2024, 6, 1)


def test_the_profile_that_was_valid_and_known_on_the_day_says_the_group(spark: SparkSession) -> None:
    members = spark.createDataFrame(
        [
            ("late", FIRST, MOVED, True, {"age": "30"}, FIRST, {}),
            ("late", MOVED, None, True, {"age": "40"}, LEARNED, {}),  # until the shop learned of it, the one before
            ("corrected", FIRST, None, True, {"age": "50", "sex": "f"}, FIRST, {"age": LEARNED}),
            ("ended", FIRST, MOVED, True, {"age": "60"}, FIRST, {}),
            ("two at once", FIRST, None, True, {"age": "1"}, FIRST, {}),
            ("two at once", MOVED, LATER, True, {"age": "2"}, MOVED, {}),
            ("forgot", FIRST, MOVED, True, {"age": "70"}, FIRST, {}),
            ("forgot", MOVED, None, True, {"sex": "m"}, MOVED, {}),
            ("bought only", FIRST, None, False, {"age": "80"}, FIRST, {}),
        ],
        MEMBERS.schema,
    )
    names = ("late", "corrected", "ended", "two at once", "forgot", "bought only", "unknown")
    days = (date(2024, 4, 30), MOVED, date(2024, 5, 19), LEARNED, LATER)
    asked = spark.createDataFrame([(name, day, 7) for name in names for day in days], f"{KEY}, more int")
    told = with_groups(asked, members, ["age", "sex"])
    assert told.columns == ["member_id", "as_of_date", "more", "group_age", "group_sex"]
    rows = {(row["member_id"], row["as_of_date"]): row for row in told.collect()}
    assert len(rows) == len(names) * len(days)
    assert {name: [rows[name, day]["group_age"] for day in days] for name in names} == {
        "late": ["30", "30", "30", "40", "40"],
        "corrected": [None, None, None, "50", "50"],
        "ended": ["60", None, None, None, None],
        "two at once": ["1", "2", "2", "2", "1"],
        "forgot": ["70", None, None, None, None],
        "bought only": [None] * 5,
        "unknown": [None] * 5,
    }
    assert [rows["corrected", day]["group_sex"] for day in days] == ["f"] * 5


def test_groups_of_enough_members_have_numbers_in_the_order_of_their_texts(spark: SparkSession) -> None:
    texts = {"a": "old", "b": "old", "c": "young", "d": "young", "e": "child", "f": None}
    # The child has many rows and is one member all the same.
    rows = [(name, date(2024, 1, day), text) for name, text in texts.items() for day in (1, 8, 15)]
    frame = spark.createDataFrame(rows, f"{KEY}, group_age string")
    assert [row["group"] for row in build_groups(frame, "group_age", min_members=2).collect()] == ["old", "young"]
    assert build_groups(frame, "group_age", min_members=3).isEmpty()
    named = frame.where("as_of_date = '2024-01-01'")
    numbers = named.select("member_id", group_number(F.col("group_age"), ["old", "young"]).alias("n"))
    assert dict(map(tuple, numbers.collect())) == {"a": 0, "b": 0, "c": 1, "d": 1, "e": 2, "f": 3}
    nobody = named.select("member_id", group_number(F.col("group_age"), []).alias("n"))
    assert dict(map(tuple, nobody.collect())) == {**dict.fromkeys("abcde", 0), "f": 1}


def test_examples_tell_the_group_beside_the_features_and_only_where_rows_are_weighed(spark: SparkSession) -> None:
    features = spark.createDataFrame(
        [(m, FIRST, 1, 3, group) for m, group in (("a", "old"), ("b", None))],
        f"{KEY}, level_now int, x int, group_age string",
    )
    labels = spark.createDataFrame(
        [(m, FIRST, 0, 2, 900, None) for m in "ab"],
        f"{KEY}, target_level int, num_orders bigint, spend_cents bigint, first_category string",
    )
    labelled, encoder = join_outcomes(features, labels, F.lit("train")), Encoder((Input("x"),), 2, (0.0,), (1.0,))
    plain = build_examples(labelled, encoder, files_per_split=1)
    assert plain.columns == EXAMPLES.schema.names == examples_contract(encoder).schema.names
    groups = Groups("group_age", ("old",))
    told = build_examples(labelled, encoder, files_per_split=1, groups=groups)
    contract = examples_contract(encoder, groups=groups)
    assert told.columns == contract.schema.names
    assert told.schema["group_age"].dataType.simpleString() == contract.schema["group_age"].dataType.simpleString()
    assert {row["member_id"]: row["group_age"] for row in told.collect()} == {"a": [0], "b": [2]}
    assert_df_equality(told.drop("group_age"), plain, ignore_nullable=True, ignore_row_order=True)
