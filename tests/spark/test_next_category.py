"""The next category on literal rows: which ones have a number, the number of each row, tastes, the column of scores."""

from datetime import date

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.tastes import build_tastes
from memberlevel_spark.examples.build import build_examples, examples_contract, join_outcomes
from memberlevel_spark.examples.encoder import Encoder, Input
from memberlevel_spark.examples.next_category import build_next_categories, category_number
from memberlevel_spark.schemas import EXAMPLES
from memberlevel_spark.scoring.ledger import build_scores
from memberlevel_spark.scoring.predictor import NUMBERS

pytestmark = pytest.mark.spark

DAY = date(2024, 3, 10)
TOLD = ("wine", "bread")


def rows_of(spark: SparkSession, *categories: str | None) -> DataFrame:
    return spark.createDataFrame([(category,) for category in categories], "first_category string")


def test_the_most_frequent_categories_have_a_number_and_of_equal_ones_the_smaller_text_comes_first(spark: SparkSession):
    rows = rows_of(spark, *["tea"] * 2, *["bread"] * 2, *["wine"] * 3, "salt", *[None] * 9, *["(other)"] * 5)
    for asked, expected in (
        (2, ["wine", "bread"]),
        (3, ["wine", "bread", "tea"]),
        (9, ["wine", "bread", "tea", "salt"]),
    ):
        assert [row[0] for row in build_next_categories(rows, asked).collect()] == expected
    assert build_next_categories(rows_of(spark, None, "(other)"), 3).isEmpty()


def test_a_category_that_training_never_met_is_one_of_the_others_and_no_order_is_none(spark: SparkSession):
    rows = rows_of(spark, "wine", "bread", "tea", "(other)", None)
    numbers = rows.select(category_number(F.col("first_category"), TOLD).alias("n"))
    assert [row[0] for row in numbers.collect()] == [0, 1, 2, 2, -1]
    assert numbers.schema["n"].dataType.simpleString() == "int"


def test_examples_tell_the_next_category_only_where_it_is_told(spark: SparkSession):
    key = "member_id string, as_of_date date"
    features = spark.createDataFrame([(m, DAY, 1, 3) for m in "abc"], f"{key}, level_now int, x int")
    labels = spark.createDataFrame(
        [("a", DAY, 0, 2, 900, "bread"), ("b", DAY, 0, 1, 10, "tea"), ("c", DAY, 0, 0, 0, None)],
        f"{key}, target_level int, num_orders bigint, spend_cents bigint, first_category string",
    )
    labelled = join_outcomes(features, labels, F.lit("train"))
    plain = Encoder((Input("x"),), 2, (0.0,), (1.0,))
    telling = Encoder((Input("x"),), 2, (0.0,), (1.0,), next_categories=TOLD)
    before = build_examples(labelled, plain, files_per_split=1)
    assert before.columns == EXAMPLES.schema.names == examples_contract(plain).schema.names
    told = build_examples(labelled, telling, files_per_split=1)
    assert told.columns == examples_contract(telling).schema.names
    assert {row["member_id"]: row["next_category"] for row in told.collect()} == {"a": [1], "b": [2], "c": [-1]}
    rest = [sorted(map(str, frame.drop("next_category").collect())) for frame in (before, told)]
    assert rest[0] == rest[1]


def test_a_taste_is_what_most_lines_of_91_days_are_of(spark: SparkSession):
    def lines(member: str, day: date, *categories: str | None) -> list[tuple[object, ...]]:
        return [(member, day, category) for category in categories]

    rows = [
        *lines("most", date(2024, 3, 1), "bread", "bread", "wine"),
        *lines("even", date(2024, 3, 1), "bread", "wine"),  # wine is more frequent in the shop
        *lines("others", date(2024, 3, 1), "wine", "tea", "salt", None, None, None),
        *lines("first day", date(2023, 12, 11), "bread"),  # 90 days before
        *lines("too old", date(2023, 12, 10), "bread"),
        *lines("last day", DAY, "wine"),
        *lines("too new", date(2024, 3, 11), "wine"),
        *lines("unknown", DAY, None),
    ]
    order_lines = spark.createDataFrame(rows, "member_id string, day date, category string")
    found = {row["member_id"]: row["favourite"] for row in build_tastes(order_lines, TOLD, DAY).collect()}
    assert found == {"most": 1, "even": 0, "others": 2, "first day": 1, "last day": 0}


def predicted(spark: SparkSession) -> DataFrame:
    numbers = (0.75, 2.5, 4200.0, 0.0, 3900.0, 9000.0)
    chances = [[0.125, 0.5, 0.25, 0.125], [0.25, 0.25, 0.25, 0.25]]
    rows = [(member, DAY, 0, 7, [0.7, 0.3], *numbers, p) for member, p in zip("ab", chances, strict=True)]
    columns = ", ".join(f"{name} double" for name in NUMBERS)
    key = "member_id string, as_of_date date, level_now int, features_hash bigint"
    return spark.createDataFrame(rows, f"{key}, p_level array<double>, {columns}, p_category array<double>")


def test_a_score_has_the_three_likeliest_categories_with_the_chance_of_an_order_in_them(spark: SparkSession):
    names = ("wine", "bread", "tea", "(other)")
    scores = build_scores(predicted(spark), "m1", names).orderBy("member_id").collect()
    assert [[tuple(one) for one in row["next_categories"]] for row in scores] == [
        [("bread", 0.375), ("tea", 0.1875), ("wine", 0.09375)],
        [("wine", 0.1875), ("bread", 0.1875), ("tea", 0.1875)],
    ]
    two = build_scores(predicted(spark).withColumn("p_category", F.slice("p_category", 1, 2)), "m1", names[:2])
    assert [len(row["next_categories"]) for row in two.collect()] == [2, 2]


def test_a_score_of_a_model_that_tells_no_category_has_none(spark: SparkSession):
    scores = build_scores(predicted(spark), "m1")
    assert {row["next_categories"] for row in scores.collect()} == {None}
    types = [build_scores(predicted(spark), "m1", names).schema["next_categories"].dataType for names in ((), TOLD)]
    assert types[0].simpleString() == types[1].simpleString() == "array<struct<category:string,p:double>>"
