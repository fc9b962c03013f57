"""Parts of the members: slices of the test date, nested samples, and what is expected of all."""

from datetime import date

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.member_shares import build_share_examples
from memberlevel_spark.evaluation.slice_dimensions import build_slice_columns, dimensions_of
from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.report.outlook import outlook
from memberlevel_spark.schemas import EXAMPLES

pytestmark = pytest.mark.spark

AS_OF, EARLIER = date(2024, 6, 30), date(2024, 6, 2)
DATES, CITY = (AS_OF, EARLIER), ProfileFeature("home_city", "category", ("Ulm", "Kiel"))
SCORES = (
    "p_churn double, expected_orders double, expected_spend_cents double, spend_cents_low double,"
    " spend_cents_high double"
)


def slice_rows(spark: SparkSession) -> DataFrame:
    test = spark.createDataFrame(
        [("a", AS_OF, 3, 1), ("b", AS_OF, 1, 0), ("gone", AS_OF, 2, 2), ("b", EARLIER, 4, 1)],
        "member_id string, as_of_date date, row_key bigint, level_now int",
    )
    features = spark.createDataFrame(
        [("a", AS_OF, 90, 3), ("b", AS_OF, 400, 1), ("b", EARLIER, 372, 2), ("a", date(2024, 5, 5), 34, 2)],
        "member_id string, as_of_date date, tenure_days int, profile_home_city bigint",
    )
    days = spark.createDataFrame(
        [
            ("a", date(2024, 4, 1), 2),  # the first of 91 days
            ("a", date(2024, 3, 31), 9),
            ("a", AS_OF, 1),
            ("a", date(2024, 7, 1), 9),
            ("b", EARLIER, 7),
        ],
        "member_id string, day date, num_orders bigint",
    )
    parted = build_slice_columns(test, features, days.withColumn("spend_cents", F.lit(5)), dates=DATES, profile=[CITY])
    return parted.orderBy("row_key")


def test_members_are_parted_by_what_was_known_on_the_as_of_date(spark: SparkSession) -> None:
    expected = spark.createDataFrame(
        [(1, 0, 400, 1, 7), (2, 2, None, None, 0), (3, 1, 90, 3, 3), (4, 1, 372, 2, 7)],
        "row_key bigint, level_now int, tenure_days int, profile_home_city bigint, recent_orders bigint",
    )
    assert_df_equality(slice_rows(spark).drop("member_id", "as_of_date"), expected, ignore_nullable=True)


def test_parts_have_names_and_the_unknown_are_one_of_them(spark: SparkSession) -> None:
    dimensions = dimensions_of(slice_rows(spark).toPandas(), ["base", "silver", "gold"], [CITY])
    assert {each.name: [each.names[part] for part in each.part_N] for each in dimensions} == {
        "level now": ["base", "gold", "silver", "silver"],
        "tenure": ["a year or more", "(unknown)", "under 3 months", "a year or more"],
        "orders in 91 days": ["5 to 12", "none", "2 to 4", "5 to 12"],
        "home city": ["(other)", "(unknown)", "Kiel", "Ulm"],
    }


def test_samples_of_members_are_nested_and_the_same_at_every_date(spark: SparkSession) -> None:
    rows = [
        (f"m{member:03d}", date(2024, 1, day), member * 100 + day, 19_722 + day, 0, 0, [0.0, 0.0], [1.0], "old")
        for member in range(400)
        for day in (1, 8)
    ]
    examples = spark.createDataFrame(rows, EXAMPLES.schema)
    sampled = build_share_examples(examples, [0.25, 0.5], files_per_split=2)
    assert sampled.columns == EXAMPLES.schema.names
    split_of = {(row["member_id"], row["as_of_date"]): row["split"] for row in sampled.collect()}
    members = {split: {key[0] for key, own in split_of.items() if own == split} for split in ("0.25", "0.5")}
    assert len(split_of) == 2 * len(members["0.25"] | members["0.5"])
    assert not members["0.25"] & members["0.5"]
    assert all(70 < len(each) < 130 for each in members.values())
    (alone,) = [build_share_examples(examples, [0.25], files_per_split=2)]
    assert {row["member_id"] for row in alone.collect()} == members["0.25"]


def test_what_is_expected_of_all_is_added_up_and_of_each_is_counted(spark: SparkSession) -> None:
    rows = [(place / 20, 0.5, 100.0 * place, 10.0 * place, 300.0 * place) for place in range(1, 21)]
    found = outlook(spark.createDataFrame(rows, SCORES))
    churn, orders, spend = found["expected"]
    assert (churn["quantity"], churn["total"]) == ("churn", pytest.approx(10.5))
    assert orders == {"quantity": "orders", "total": 10.0, "low": 0.5, "median": 0.5, "high": 0.5}
    assert spend == {"quantity": "spend_cents", "total": 21000.0, "low": 200.0, "median": 1000.0, "high": 1800.0}
    # 0.05 is below the first tenth, 0.1 begins the second; a certain churn is in the last one.
    assert found["churn_counts"] == [1, *[2] * 8, 3]
    assert found["spend_ranges"][0] == {
        "members": 2,
        "expected_cents": 150.0,
        "low_cents": 15.0,
        "high_cents": 450.0,
    }
    assert len(found["spend_ranges"]) == 10 and found["spend_ranges"][9]["expected_cents"] == 1950.0


def test_without_scores_nothing_is_expected(spark: SparkSession) -> None:
    assert outlook(spark.createDataFrame([], SCORES)) == {"expected": [], "churn_counts": [], "spend_ranges": []}
