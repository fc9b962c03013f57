"""What Spark counts for the monitoring and the report: histograms, flags, spells on a level, headline numbers."""

from datetime import date, timedelta

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.score_profile import SCORE_NUMBERS, score_rows
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.examples.profile import EDGES, NUM_BINS, Numbers, build_counts, encoded_rows, profiles_of
from memberlevel_spark.report.changes import build_headlines
from memberlevel_spark.report.tenure import build_spells

pytestmark = pytest.mark.spark

DAY = date(2024, 3, 10)


def bins(**rows: int) -> tuple[int, ...]:
    places = {f"b{place}": place for place in range(NUM_BINS)}
    found = [0] * NUM_BINS
    for name, number in rows.items():
        found[places[name]] = number
    return tuple(found)


def test_numbers_and_flags_of_each_part_are_counted_in_one_pass(spark: SparkSession):
    inputs = (
        Input("recency_days", when_null=999),
        Input("profile_city", equals=1, meaning="m"),
        Input("profile_city", equals=2, meaning="m"),
        Input("spend_top", equals=0, meaning="m"),
        Input("spend_top", equals=3, meaning="m"),
        Input("profile_age", meaning="m"),
        Input("weekly_spend", 0),
    )
    needs = (Need("spend_cents", 1, "to_level_1_spend_cents_carry_over"),)
    encoder = Encoder(inputs, 2, (0.0,) * 7, (1.0,) * 7, needs)
    numbers = Numbers.of(encoder)
    assert numbers.nullable == ("recency_days", "profile_city", "spend_top", "profile_age")
    assert numbers.categories == ("profile_city", "spend_top")
    rows = [
        ("a", None, 0, 3, None, 0, 100),
        ("a", 0, 1, 0, 5.0, 1, 0),
        ("a", 0, 2, None, 6.0, 0, 0),
        ("b", 0, 1, 1, 7.0, 0, 0),
    ]
    columns = "part string, recency_days int, profile_city int, spend_top int, profile_age double, level_now int,"
    frame = spark.createDataFrame(rows, f"{columns} to_level_1_spend_cents_carry_over long")
    joined = frame.withColumns({"weekly_spend": F.array(F.lit(0)), "level_if_idle": F.lit(0)})
    counted = build_counts(encoded_rows(joined, encoder, F.col("part")), numbers).collect()
    found = profiles_of(map(tuple, counted), numbers)
    assert set(found) == {"a", "b"} and (found["a"].num_rows, found["b"].num_rows) == (3, 1)
    assert found["a"].nulls == {"recency_days": 1, "profile_city": 1, "spend_top": 1, "profile_age": 1}
    assert found["a"].new_categories == {"profile_city": 1, "spend_top": 1}
    assert found["b"].nulls == dict.fromkeys(numbers.nullable, 0)
    assert found["b"].new_categories == {"profile_city": 1, "spend_top": 0}
    zero = EDGES.index(0.0) + 1
    # log1p(999) is clipped to 5, beyond the last edge; log1p(100) / 2 - 4 is -1.69.
    assert found["a"].bins["recency_days"] == bins(**{f"b{NUM_BINS - 1}": 1, f"b{zero}": 2})
    assert found["a"].bins["needs_spend_cents_to_level_1"] == bins(b0=2, b9=1)
    assert found["a"].bins["level_now_is_1"] == bins(**{f"b{zero}": 2, f"b{zero + 4}": 1})


def test_scores_are_counted_by_date_on_the_scales_of_the_test_dates_profile(spark: SparkSession):
    columns = "as_of_date date, p_up double, p_down double, p_churn double, expected_orders double,"
    scores = spark.createDataFrame(
        [(DAY, 0.5, 0.0, 1.0, 1.0, 0.0), (DAY, 0.5, 0.5, 0.5, 0.0, 1e9)], f"{columns} expected_spend_cents double"
    )
    found = profiles_of(map(tuple, build_counts(score_rows(scores), SCORE_NUMBERS).collect()), SCORE_NUMBERS)
    zero, last = f"b{EDGES.index(0.0) + 1}", f"b{NUM_BINS - 1}"
    assert set(found) == {"2024-03-10"} and found["2024-03-10"].num_rows == 2
    assert found["2024-03-10"].bins == {
        "p_up": bins(**{zero: 2}),
        "p_down": bins(b0=1, **{zero: 1}),
        "p_churn": bins(**{zero: 1, last: 1}),
        "expected_orders": bins(b0=1, **{zero: 1}),
        "expected_spend_cents": bins(b0=1, **{last: 1}),
    }


def test_spells_join_stretches_of_one_level_and_know_nothing_after_the_date(spark: SparkSession):
    def back(days: int) -> date:
        return DAY - timedelta(days=days)

    stretches = [
        # Own level changes under one given by hand: one spell of 30 days, then one that is held.
        ("a", back(50), 1),
        ("a", back(40), 1),
        ("a", back(20), 0),
        # Back on a level: two spells of it.
        ("b", back(30), 0),
        ("b", back(25), 1),
        ("b", back(15), 0),
        # Falls the day after the date, which is not known then.
        ("c", back(10), 1),
        ("c", back(-1), 0),
        ("d", back(0), 0),
        ("e", back(-3), 0),
    ]
    rows = build_spells(spark.createDataFrame(stretches, "member_id string, valid_from date, level int"), DAY).collect()
    assert sorted(tuple(row) for row in rows) == [
        (0, False, 0, 1),
        (0, False, 15, 1),
        (0, False, 20, 1),
        (0, True, 5, 1),
        (1, False, 10, 1),
        (1, True, 10, 1),
        (1, True, 30, 1),
    ]


def test_headline_numbers_are_sums_of_each_date_and_version_of_a_year(spark: SparkSession):
    def score(day: date, version: str, level: int, p_level: list[float]) -> tuple[object, ...]:
        return (day, version, level, p_level, 0.25, 0.125, 0.5, 2.0, 1000.0)

    rows = [
        score(DAY, "m1", 2, [0.0, 0.5, 0.5]),
        score(DAY, "m1", 0, [0.5, 0.25, 0.25]),
        score(DAY, "m2", 1, [0.0, 1.0, 0.0]),
        score(DAY - timedelta(days=367), "m1", 1, [0.0, 1.0, 0.0]),
        score(DAY + timedelta(days=1), "m1", 1, [0.0, 1.0, 0.0]),
    ]
    columns = "as_of_date date, model_version string, level_now int, p_level array<double>, p_up double, p_down double,"
    frame = spark.createDataFrame(
        rows, f"{columns} p_churn double, expected_orders double, expected_spend_cents double"
    )
    found = {row["model_version"]: row.asDict() for row in build_headlines(frame, DAY).collect()}
    numbers = {"members": 2.0, "top_now": 1.0, "top_expected": 0.75, "up": 0.5, "down": 0.25}
    numbers |= {"no_order": 1.0, "orders": 4.0, "spend_cents": 2000.0}
    assert found["m1"] == {"as_of_date": DAY, "model_version": "m1", **numbers}
    assert found["m2"]["members"] == 1.0 and len(found) == 2
