"""Features, sequences and labels around each boundary day, the encoder, and the layout of the examples."""

import math
from datetime import date, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.build import build_examples, join_labels, model_inputs
from memberlevel_spark.examples.encoder import Encoder, Input
from memberlevel_spark.examples.labels import LabelWindows, build_labels
from memberlevel_spark.features.assemble import build_member_features, build_member_sequences, feature_fields
from memberlevel_spark.features.breakdowns import declared_breakdowns, published_features
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.profiles import ProfileFeature, build_profile_values
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.features.windows import WindowPlan, build_windows, days_since_epoch
from memberlevel_spark.levels.replay import build_member_levels
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEASURES, member_features_contract
from memberlevel_spark.timeline import LabelWindow, Split, day_number

pytestmark = pytest.mark.spark

AS_OF = date(2024, 3, 10)
RULES = LevelRules(
    LevelsConfig.model_validate(
        {
            "metric": "spend_cents",
            "window_days": 10,
            "programme": [{"name": "base"}, {"name": "silver", "at_least": 100}, {"name": "gold", "at_least": 300}],
        }
    )
)
DECLARED = (
    *[Feature(measure, aggregate, window_days=7) for measure in MEASURES for aggregate in ("sum", "count")],
    Feature("num_orders", "days_since"),
    Feature("num_orders", "days_since_first"),
    Feature("spend_cents", "trend", window_days=7),
    Feature("spend_cents", "mean", window_days=7),
)


def at(offset: int) -> date:
    return AS_OF + timedelta(days=offset)


def member_days(spark: SparkSession, *rows: tuple[str, int, int]) -> DataFrame:
    """Tiles from (member, day relative to the as-of date, spend); one order each."""
    names, one_each = (*MEASURES, "num_events"), {"num_orders": 1, "num_items": 1, "num_events": 1}
    tiles = [{**dict.fromkeys(names, 0), **one_each, "spend_cents": cents} for _, _, cents in rows]
    full = [(row[0], at(row[1]), *tile.values()) for row, tile in zip(rows, tiles, strict=True)]
    return spark.createDataFrame(full, "member_id string, day date, " + ", ".join(f"{name} long" for name in names))


def members(spark: SparkSession, *names: str, since: int = -100) -> DataFrame:
    return spark.createDataFrame([(name, at(since)) for name in names], "member_id string, known_from date")


def windows(known: DataFrame, tiles: DataFrame, *dates: date) -> DataFrame:
    plan = WindowPlan(MEASURES, days_since_epoch(dates), DECLARED, 2, RULES, 4)
    return build_windows(known, tiles, build_member_levels(known, tiles, RULES, through=at(60)), plan)


def features(spark: SparkSession, known: DataFrame, tiles: DataFrame, *dates: date) -> DataFrame:
    return build_member_features(windows(known, tiles, *dates), DECLARED, RULES)


def test_first_and_last_day_of_a_window_count_and_the_days_outside_do_not(spark: SparkSession):
    tiles = member_days(spark, ("a", -7, 1), ("a", -6, 20), ("a", 0, 300), ("a", 1, 4000))
    row = features(spark, members(spark, "a", "silent"), tiles, AS_OF).orderBy("member_id").collect()
    assert (row[0].spend_cents_sum_7d, row[0].num_orders_sum_7d, row[0].spend_cents_count_7d) == (320, 2, 2)
    assert (row[0].num_orders_days_since, row[0].num_orders_days_since_first, row[0].tenure_days) == (0, 7, 100)
    assert row[0].spend_cents_mean_7d == 160
    assert (row[0].level_spend_cents_now, row[0].level_spend_cents_carry_over, row[0].level_now) == (321, 300, 2)
    assert (row[0].to_level_1_spend_cents_now, row[0].to_level_2_spend_cents_now) == (0, 0)
    assert (row[0].to_level_2_spend_cents_carry_over, row[0].to_keep_spend_cents, row[0].level_if_idle) == (0, 0, 2)
    assert (row[0].days_in_level, row[0].num_level_ups, row[0].num_level_downs, row[0].best_level) == (0, 1, 0, 2)
    silent = row[1]
    assert (silent.spend_cents_sum_7d, silent.num_orders_days_since, silent.level_now) == (0, None, 0)
    assert (silent.spend_cents_mean_7d, silent.spend_cents_trend_7d) == (None, 0)
    assert (silent.to_level_1_spend_cents_carry_over, silent.to_level_2_spend_cents_carry_over) == (100, 300)


def test_what_keeps_the_level_is_what_is_missing_on_the_label_date_and_history_counts_moves(spark: SparkSession):
    tiles = member_days(spark, ("a", -30, 100), ("a", -9, 290), ("a", -1, 20))
    row = features(spark, members(spark, "a"), tiles, AS_OF).first()
    assert row is not None and (row.level_now, row.level_if_idle, row.best_level, row.days_in_level) == (2, 0, 2, 1)
    assert (row.to_keep_spend_cents, row.num_level_ups, row.num_level_downs, row.days_to_review) == (280, 3, 1, 1)


def test_features_have_the_contracts_columns_and_one_date_equals_the_same_date_among_many(spark: SparkSession):
    known, tiles = members(spark, "a"), member_days(spark, ("a", -9, 5), ("a", -3, 7))
    one = features(spark, known, tiles, AS_OF)
    assert one.columns == member_features_contract(feature_fields(DECLARED, RULES)).schema.names
    many = features(spark, known, tiles, at(-14), at(-7), AS_OF).where(F.col("as_of_date") == AS_OF)
    assert one.collect() == many.collect()


def test_nothing_after_the_as_of_date_changes_a_feature(spark: SparkSession):
    known, past = members(spark, "a"), [("a", -9, 5), ("a", -3, 7)]
    plain = features(spark, known, member_days(spark, *past), AS_OF).collect()
    assert features(spark, known, member_days(spark, *past, ("a", 1, 10**6), ("a", 5, 1)), AS_OF).collect() == plain


def test_a_member_has_no_row_before_the_shop_knew_them(spark: SparkSession):
    known = members(spark, "old").unionAll(members(spark, "new", since=1))
    rows = features(spark, known, member_days(spark, ("new", 1, 1)), AS_OF, at(1)).select("member_id", "as_of_date")
    assert {tuple(row) for row in rows.collect()} == {("old", AS_OF), ("old", at(1)), ("new", at(1))}


PROFILE = (ProfileFeature("city", "category", ("Ulm", "Kiel")), ProfileFeature("size", "number"))


def profiles(spark: SparkSession, *rows: tuple[str, int, int | None, dict[str, str]]) -> DataFrame:
    """Profiles from (member, first day, first day after, attributes); days relative to the as-of date."""
    full = [(name, at(start), None if end is None else at(end), given) for name, start, end, given in rows]
    frame = spark.createDataFrame(
        full, "member_id string, valid_from date, valid_to date, attributes map<string, string>"
    )
    corrected = F.create_map().cast("map<string,date>")
    more = {"declared": F.lit(True), "known_from": F.col("valid_from"), "corrected_from": corrected}
    return frame.withColumns(more)


def test_a_profile_counts_from_its_first_day_to_the_day_before_the_next(spark: SparkSession):
    known = profiles(
        spark,
        ("moved", -9, 0, {"city": "Ulm", "size": "1.5"}),
        ("moved", 0, None, {"city": "Kiel", "size": "NaN"}),
        ("moves later", -9, 1, {"city": "Oslo", "size": "1e300"}),
        ("moves later", 1, None, {"city": "Ulm", "size": "2"}),
        ("two at once", -9, None, {"city": "Ulm", "size": "3"}),
        ("two at once", -5, None, {"city": "Kiel"}),
        ("ended", -9, -1, {"city": "Ulm", "size": "4"}),
        ("in words", -9, None, {"size": "many"}),
        ("negative", -9, None, {"size": "-1.5"}),
    )
    tiles = member_days(spark, ("ended", 0, 5))
    plan = WindowPlan(MEASURES, days_since_epoch([AS_OF]), DECLARED, 2, RULES, 4, profile=PROFILE)
    rows = build_windows(known, tiles, build_member_levels(known, tiles, RULES, through=at(60)), plan)
    named = build_member_features(rows, DECLARED, RULES, profile=PROFILE)
    assert named.columns == member_features_contract(feature_fields(DECLARED, RULES, profile=PROFILE)).schema.names
    found = {row.member_id: (row.profile_city, row.profile_size, row.spend_cents_sum_7d) for row in named.collect()}
    assert found == {
        "moved": (3, None, 0),
        "moves later": (1, None, 0),
        "two at once": (3, None, 0),
        "ended": (0, None, 5),
        "in words": (0, None, 0),
        "negative": (0, -1.5, 0),
    }


def test_the_vocabulary_of_profiles_knows_those_that_had_begun(spark: SparkSession):
    known = profiles(
        spark,
        ("a", -9, 1, {"city": "Ulm", "size": "1"}),
        ("b", 0, None, {"city": "Kiel"}),
        ("c", 0, None, {"city": "Kiel"}),
        ("d", 0, None, {}),
        ("a", 1, None, {"city": "Oslo"}),
    )
    values = build_profile_values(known, ["city"], through=AS_OF)
    assert sorted(map(tuple, values.collect())) == [("profile_city", "Kiel", 2), ("profile_city", "Ulm", 1)]


def test_weekly_sequences_are_newest_first(spark: SparkSession):
    tiles = member_days(spark, ("a", -6, 1), ("a", -7, 20), ("a", -13, 300), ("a", -14, 4000))
    row = build_member_sequences(windows(members(spark, "a"), tiles, AS_OF), MEASURES, 2).first()
    assert row is not None and (row.weekly_spend_cents, row.weekly_num_orders) == ([1, 320], [1, 2])


@pytest.mark.parametrize("gap", [0, 3])
def test_a_label_counts_exactly_the_days_of_its_window(spark: SparkSession, gap: int):
    label, known = LabelWindow(gap, 5), members(spark, "a", "silent")
    outside = {0: 1, gap: 2, gap + 6: 4}  # a tile a day
    tiles = member_days(
        spark, *[("a", day, cents) for day, cents in outside.items()], ("a", gap + 1, 100), ("a", gap + 5, 200)
    )
    levels = build_member_levels(known, tiles, RULES, through=at(60))
    population = features(spark, known, tiles, AS_OF).select("member_id", "as_of_date", "level_now")
    windows_of = LabelWindows(label, LabelWindow(gap, 10), data_through=at(60))
    rows = build_labels(population, tiles, levels, dates=[AS_OF], windows=windows_of).orderBy("member_id").collect()
    # The silent member is there too: whoever is known on the as-of date has a label.
    assert [row.member_id for row in rows] == ["a", "silent"]
    end = at(gap + 10)
    assert tuple(rows[0])[2:] == (at(gap + 5), 0, 2, True, False, False, True, 2, 300, None, False, end)
    assert tuple(rows[1])[2:] == (at(gap + 5), 0, 0, False, False, True, False, 0, 0, None, True, end)


def encoder_rows(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([(0, [5], 0), (None, [5], 1), (-3, [5], 2)], "x int, a array<int>, level_now int")


INPUTS = (Input("x", when_null=7), Input("a", 0))


def test_the_encoder_standardises_signed_logs_and_a_constant_becomes_zero(spark: SparkSession):
    rows = encoder_rows(spark)
    encoder = Encoder.fit(rows, INPUTS, 3)
    logs = [0.0, math.log1p(7), -math.log1p(3)]
    mean = sum(logs) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in logs) / 3)
    got = [row[0] for row in rows.select(encoder.encode()).collect()]
    for level, (vector, value) in enumerate(zip(got, logs, strict=True)):
        one_hot = [float(level == k) for k in range(3)]
        assert vector == pytest.approx([(value - mean) / deviation, 0.0, *one_hot], abs=1e-5)
    assert encoder.names == ("x", "a_0", "level_now_is_0", "level_now_is_1", "level_now_is_2")


def test_an_index_of_a_vocabulary_is_read_as_whether_it_is_that_one(spark: SparkSession):
    rows = spark.createDataFrame([(0, 0), (1, 0), (2, 0)], "c bigint, level_now int")
    encoder = Encoder((Input("c", equals=1), Input("c", equals=2)), 1, (0.0, 0.0), (math.log(2),) * 2)
    assert [row[0] for row in rows.select(encoder.encode()).collect()] == [[0, 0, 1], [1, 0, 1], [0, 1, 1]]
    assert encoder.names[:2] == ("c_is_1", "c_is_2") and Encoder.from_json(encoder.to_json()) == encoder


def test_an_extreme_value_is_clipped(spark: SparkSession):
    encoder = Encoder(INPUTS, 2, (0.0, 0.0), (0.001, 1.0))
    row = encoder_rows(spark).select(encoder.encode()).first()
    assert row is not None and max(row[0]) <= 5.0


def test_the_fit_does_not_depend_on_partitions_and_json_keeps_it(spark: SparkSession):
    rows = spark.range(2000).select((F.col("id") * 7919 % 1013).alias("x"), F.array("id").alias("a"))
    one, many = (Encoder.fit(rows.repartition(n), INPUTS, 2) for n in (1, 7))
    assert one == many == Encoder.from_json(one.to_json())


def test_sums_of_the_largest_values_pass_64_bits_exactly(spark: SparkSession):
    largest, num_rows = 2**63 - 1, 9000
    rows = spark.range(num_rows).select(F.lit(largest).alias("x"), F.array(F.col("id") % 2).alias("a")).coalesce(1)
    encoder = Encoder.fit(rows, INPUTS, 2)
    assert encoder.means[0] == pytest.approx(math.log1p(largest), abs=1e-6)
    # The square's sum is exact, so a constant has no variance at all: it gets deviation 1.
    assert encoder.deviations == (1.0, pytest.approx(math.log(2) / 2, abs=1e-6))


def test_an_encoder_refuses_rows_without_its_columns_no_rows_and_damaged_json(spark: SparkSession):
    encoder = Encoder(INPUTS, 2, (0.0, 0.0), (1.0, 1.0))
    with pytest.raises(ArtefactError, match=r"features the model was trained on are missing: a. Train"):
        encoder.require_columns(spark.createDataFrame([(1,)], "x int"))
    by_index = Encoder((Input("a", equals=2, meaning="new"), Input("x", meaning="same")), 2, (0.0, 0.0), (1.0, 1.0))
    by_index.require_meaning({"a": "new", "x": "same", "other": "?"})
    with pytest.raises(ArtefactError, match=r"features mean something else than the model was trained on: a. Train"):
        by_index.require_meaning({"a": "old", "x": "same"})
    with pytest.raises(ArtefactError, match=r"no training rows to fit the encoder on"):
        Encoder.fit(encoder_rows(spark).limit(0), INPUTS, 2)
    with pytest.raises(ArtefactError, match=r"an encoder cannot be read"):
        Encoder.from_json("{}")


def test_examples_are_split_by_date_and_laid_out_the_same_for_any_partitioning(spark: SparkSession):
    split = Split((AS_OF,), (at(7),), (at(14),), late=(at(21),))
    frame = spark.range(60).select(
        F.concat(F.lit("m"), F.col("id") % 20).alias("member_id"),
        F.date_add(F.lit(AS_OF), (F.col("id") % 4).cast("int") * 7).alias("as_of_date"),
        F.lit(1).alias("level_now"),
        F.col("id").cast("int").alias("x"),
        F.array("id").alias("a"),
    )
    labels = frame.select(
        "member_id",
        "as_of_date",
        F.lit(2).alias("target_level"),
        F.lit(3).alias("num_orders"),
        F.lit(-450).alias("spend_cents"),
        F.lit("wine").alias("first_category"),
    )
    encoder = Encoder(INPUTS, 3, (0.0, 0.0), (1.0, 1.0))

    def layout(partitions: int) -> list[tuple[object, ...]]:
        labelled = join_labels(
            frame.repartition(partitions).dropDuplicates(["member_id", "as_of_date"]), labels.distinct(), split
        )
        examples = build_examples(labelled, encoder, files_per_split=3)
        laid_out = examples.withColumn("file", F.spark_partition_id()).collect()
        assert {r.as_of_day - day_number(r.as_of_date) for r in laid_out} == {0}
        return [(r.file, r.split, r.row_key) for r in laid_out]

    assert layout(1) == layout(5)
    assert {row[1] for row in layout(1)} == {"train", "validation", "test", "late"}
    outcomes = join_labels(frame, labels.distinct(), split).select("outcomes").distinct().collect()
    assert [row[0] for row in outcomes] == [[3.0, -450.0]]


def test_the_model_reads_windows_scalars_and_weekly_sums_in_declared_order():
    levels = LevelsConfig.model_validate(
        {
            "metric": "num_orders",
            "window_days": 5,
            "programme": [{"name": "a", "at_least": 0}, {"name": "b", "at_least": 2}],
        }
    )
    profile = (ProfileFeature("age", "number"), ProfileFeature("city", "category", ("Ulm",)))
    top = Feature("num_views_by_channel", "top", window_days=7, part=0)
    declared = (Feature("num_orders", "sum", window_days=7), top)
    breakdowns = declared_breakdowns(declared, Vocabulary(AS_OF, {"event_channel": ("web",)}))
    places, plain = 16, Feature("num_orders", "sum", window_days=7)
    with_top = model_inputs(declared, LevelRules(levels), ("num_orders",), 2, profile=profile, breakdowns=breakdowns)
    assert [item.name for item in with_top[1 : 1 + places]] == [f"{top.name}_is_{place}" for place in range(places)]
    assert {item.meaning for item in with_top[1 : 1 + places]} == {published_features(declared, breakdowns)[1].digest}
    inputs = model_inputs((plain,), LevelRules(levels), ("num_orders",), 2, profile=profile)
    assert with_top[1 + places :] == inputs[1:]
    assert [item.meaning for item in inputs if item.meaning] == [
        profile[0].digest,
        profile[1].digest,
        profile[1].digest,
    ]
    assert [item.name for item in inputs] == [
        "num_orders_sum_7d",
        "profile_age",
        "profile_city_is_1",
        "profile_city_is_2",
        "tenure_days",
        "level_now",
        "days_in_level",
        "num_level_ups",
        "num_level_downs",
        "best_level",
        "level_if_idle",
        "days_to_review",
        "level_num_orders_now",
        "level_num_orders_carry_over",
        "to_level_1_num_orders_now",
        "to_level_1_num_orders_carry_over",
        "to_keep_num_orders",
        "weekly_num_orders_0",
        "weekly_num_orders_1",
    ]
