"""The leakage check: three other futures change nothing that is known, and every planted leak is named."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.config import Config
from memberlevel_spark.config.model import LeakageConfig
from memberlevel_spark.errors import LeakageError
from memberlevel_spark.evaluation import leakage_job
from memberlevel_spark.evaluation.leakage_job import (
    FeaturePipeline,
    features_alone,
    future_label_probe,
    sampled,
    shuffled_labels,
)
from memberlevel_spark.examples.labels import LabelWindows, build_labels, build_order_lines, labels_as_features
from memberlevel_spark.features import futures
from memberlevel_spark.features.futures import Cut, perturbed_future
from memberlevel_spark.features.leakage import WHOLE_ROW, Pipeline, known_rows, leakage_check, leaks_by
from memberlevel_spark.features.point_in_time import Sources, build_levels, build_tiles
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.features.vocabulary_stage import fitted_vocabulary
from memberlevel_spark.levels.points import with_categories
from tests.tiny_shop import tiny_config, tiny_sources

pytestmark = pytest.mark.spark

BY_HAND = {"tier": "gold", "tier_until": "2024-12-31"}
CUT = Cut(date(2024, 6, 1), date(2024, 10, 26), BY_HAND)
DATES = (date(2024, 5, 4), CUT.as_of, date(2024, 6, 29))


@pytest.fixture(scope="module")
def config() -> Config:
    return tiny_config()


@pytest.fixture(scope="module")
def sources(spark: SparkSession) -> Sources:
    made = tiny_sources(spark)
    return Sources(made.events.cache(), made.members.cache(), made.products and made.products.cache())


@pytest.fixture(scope="module")
def vocabulary(config: Config, sources: Sources) -> Vocabulary:
    return fitted_vocabulary(sources.frames, config)


@pytest.fixture(scope="module")
def pipeline(config: Config, vocabulary: Vocabulary) -> Pipeline:
    return FeaturePipeline(config, DATES, vocabulary)


def test_features_sequences_and_vocabulary_are_the_same_to_the_byte_whatever_comes_later(
    pipeline: Pipeline, sources: Sources, vocabulary: Vocabulary
):
    num_entries = sum(map(len, vocabulary.entries.values()))
    # Two dates by then, eleven members known, a row of features, of weekly and of event sequences each.
    assert num_entries > 0 and leakage_check(pipeline, CUT, sources=sources) == 2 * 11 * 3 + num_entries


def test_a_feature_of_all_days_is_named_with_member_and_date(sources: Sources):
    def leaky(given: Sources) -> Mapping[str, DataFrame]:
        """An aggregate of all events of a member, future ones included, and one of the past."""
        past = F.max(F.when(F.col("day") <= F.lit(CUT.as_of), F.col("day")))
        told = given.events.groupBy("member_id").agg(F.max("day").alias("last_day"), past.alias("last_day_so_far"))
        known = told.where(F.col("last_day_so_far").isNotNull())
        return {"features": known.withColumn("as_of_date", F.lit(CUT.as_of))}

    message = r"what was known on 2024-06-01 depends on what came later: features\.last_day of m\d+ on 2024-06-01"
    with pytest.raises(LeakageError, match=message + r" by a future (changed|deleted)\. Make these columns"):
        leakage_check(leaky, CUT, sources=sources)


def test_the_probe_finds_a_feature_that_is_the_label_and_a_blind_check_is_told(
    config: Config, sources: Sources, monkeypatch: pytest.MonkeyPatch
):
    alone = FeaturePipeline(config, [CUT.as_of])
    assert future_label_probe(alone, CUT, sources=sources, config=config) == "found, as it must be"
    monkeypatch.setattr(leakage_job, "leaks_by", lambda *_, **__: [])
    with pytest.raises(LeakageError, match="the leakage check is blind as of 2024-06-01: a feature that is the label"):
        future_label_probe(alone, CUT, sources=sources, config=config)


def test_labels_are_known_late_and_as_features_they_are_shifted_by_their_own_horizon(
    config: Config, pipeline: Pipeline, sources: Sources
):
    """Labels count from the day on which they are known, the longer one apart; as features from the as-of date."""
    windows = LabelWindows(config.timeline.label, config.timeline.inactive, config.timeline.data_through)

    def labelled(given: Sources) -> Mapping[str, DataFrame]:
        features = pipeline(given)["member_features"]
        member_days = build_tiles(given.events, given.products, config)
        levels = build_levels(given.members, member_days, config)
        lines = build_order_lines(given.events, given.products) if given.products else None
        labels = build_labels(features, member_days, levels, dates=DATES, windows=windows, order_lines=lines)
        known_from = F.col("inactive_known_from_date").alias("known_from_date")
        inactive = labels.select("member_id", "as_of_date", known_from, "became_inactive")
        return {
            "labels": labels.drop("became_inactive"),
            "inactive": inactive,
            "last_labels": labels_as_features(labels, DATES),
        }

    cut = replace(CUT, as_of=date(2024, 6, 29))
    # Labels of two dates are over by then, the longer window of one; two dates have a label known on them.
    assert leakage_check(labelled, cut, sources=sources) == 2 * 11 + 11 + 2 * 11


def test_a_row_that_is_gone_new_or_there_twice_is_a_leak_as_much_as_another_value(spark: SparkSession):
    def frame(*rows: tuple[str, float]) -> DataFrame:
        return spark.createDataFrame(
            [(m, CUT.as_of, x) for m, x in rows], "member_id string, as_of_date date, x double"
        )

    sources = Sources(frame(("same", 1.0), ("minus", 0.0), ("gone", 2.0), ("twice", 3.0)), frame())
    later = Sources(frame(("same", 1.0), ("minus", -0.0), ("new", 2.0), ("twice", 3.0), ("twice", 3.0)), frame())
    pipeline = lambda given: {"f": given.events}  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(futures.FUTURES, "deleted", lambda given, cut: later)  # type: ignore[arg-type]
        leaks = leaks_by("deleted", pipeline, CUT, sources=sources, expected=known_rows(pipeline(sources)))
    found = {(leak.key.split()[0], leak.column) for leak in leaks}
    assert found == {("minus", "x"), ("gone", WHOLE_ROW), ("new", WHOLE_ROW), ("twice", WHOLE_ROW)}


def rows_of(frame: DataFrame, *columns: str) -> set[tuple[object, ...]]:
    return {tuple(row) for row in frame.select(*columns).collect()}


def test_other_futures_have_the_same_past_and_another_future(sources: Sources):
    for name, future in futures.FUTURES.items():
        other = future(sources, CUT)
        for before, after, day in (
            (sources.events, other.events, "day"),
            (
                sources.members.drop("valid_to", "attributes", "corrected_from"),
                other.members.drop("valid_to", "attributes", "corrected_from"),
                "known_from",
            ),
        ):
            past = before.where(F.col(day) <= CUT.as_of)
            kept = after.where(F.col(day) <= CUT.as_of)
            assert rows_of(past, *before.columns) == rows_of(kept, *before.columns), (name, day)
        woken = {member for (member,) in rows_of(other.events.where(F.col("day") > CUT.as_of), "member_id")}
        assert ({"m0", "m5", "invented-m0"} <= woken) if name == "changed" else not woken


def test_what_a_perturbed_future_does_to_three_events(spark: SparkSession, sources: Sources):
    columns = "event_id string, member_id string, event_type string, event_ts timestamp, day date, month date,"
    columns += " quantity long, amount_cents long, discount_cents long, net_cents long, points long, flag string"
    past, first, last = CUT.as_of, CUT.first_day, CUT.through

    def event(name: str, member: str, day: date, flag: str | None) -> tuple[object, ...]:
        at = datetime(day.year, day.month, day.day, 9)
        return (name, member, "order", at, day, day.replace(day=1), 1, 100, 0, 100, 0, flag)

    events = spark.createDataFrame(
        [event("1", "a", past, None), event("2", "a", first, "robot"), event("3", "b", first, None)], columns
    )
    rows = perturbed_future(events, CUT).orderBy("event_id").collect()
    assert tuple(rows[0]) == event("1", "a", past, None)
    at = datetime(last.year, last.month, last.day, 9)
    assert tuple(rows[1]) == ("2", "b", "refund", at, last, last.replace(day=1), 8, 701, 1, 701, 1, None)
    assert tuple(rows[2]) == ("3", "a", "refund", at, last, last.replace(day=1), 8, 701, 1, 701, 1, None)


def test_a_category_counts_from_the_day_on_which_the_product_was_listed(spark: SparkSession):
    listed = [("old", "wine", None), ("on", "wine", CUT.as_of), ("later", "wine", CUT.first_day)]
    products = spark.createDataFrame(listed, "product_id string, category string, valid_from date")
    events = spark.createDataFrame(
        [(p, CUT.as_of) for p in ("old", "on", "later", "none")], "product_id string, day date"
    )
    got = {row["product_id"]: row["category"] for row in with_categories(events, products).collect()}
    assert got == {"old": "wine", "on": "wine", "later": None, "none": None}


def labelled_rows(spark: SparkSession, num_rows: int, *, leaking: bool) -> DataFrame:
    """Training and validation rows with two features, of which the second may be the outcome itself."""
    rows = []
    for number in range(2 * num_rows):
        bought = number * 7919 % 13 < 6
        x = [float(number * 31 % 17), float(bought) if leaking else float(number * 37 % 23)]
        split, moved = ("train" if number < num_rows else "validation"), number % 5 == 0
        rows.append((number, CUT.as_of, x, split, moved, number == 0, bought))
    schema = "row_key long, as_of_date date, features array<float>, split string,"
    return spark.createDataFrame(rows, schema + " moved_up boolean, moved_down boolean, bought boolean")


LIMITS = LeakageConfig(sample_members=5, max_feature_auc=0.98, min_class_rows=20, probe_rows=200)


def test_every_feature_alone_is_held_against_the_outcomes_that_have_enough_rows(spark: SparkSession):
    told = features_alone(labelled_rows(spark, 200, leaking=False), ("tame", "x"), LIMITS)
    assert told.startswith("2 features, 200 rows; strongest: ") and told.endswith("too few rows for moved_down")
    with pytest.raises(
        LeakageError, match=r"nearly are an outcome \(above 0\.98\): x tells bought with AUC 1\.0000\. Look"
    ):
        features_alone(labelled_rows(spark, 200, leaking=True), ("tame", "x"), LIMITS)


def test_shuffled_labels_are_probed_on_the_validation_rows_where_there_are_enough(spark: SparkSession):
    rows = labelled_rows(spark, 200, leaking=True)
    assert re.fullmatch(r"AUC 0\.\d+ on 200 rows, chance is up to 0\.6\d+", shuffled_labels(rows, LIMITS, seed=1))
    few = LIMITS.model_copy(update={"min_class_rows": 150})
    assert shuffled_labels(rows, few, seed=1) == "left out, fewer than 150 rows that bought or did not"


def test_a_sample_has_whole_members_and_no_others(sources: Sources):
    some = sampled(sources, 4)
    chosen = rows_of(some.members, "member_id")
    assert 0 < len(chosen) < 12
    assert rows_of(some.events, "event_id") == {
        (event,) for event, member in rows_of(sources.events, "event_id", "member_id") if (member,) in chosen
    }
