"""The stage features on Delta tables: sequences and profiles of a full run, of single dates, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.config.model import FeaturesConfig, TrainDates, VocabularyConfig
from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.features.stage import published_meaning, run_features
from memberlevel_spark.features.tiles_stage import run_member_days
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.features.vocabulary_stage import profile_of, vocabulary_path
from memberlevel_spark.levels.stage import run_levels
from memberlevel_spark.run import Run
from memberlevel_spark.schemas import EVENTS, MEMBERS, PRODUCTS
from memberlevel_spark.tables import DeltaTables
from tests.made_world import world_config

pytestmark = pytest.mark.spark

TRAIN, VALIDATION, TEST, END = date(2024, 3, 1), date(2024, 4, 1), date(2024, 5, 1), date(2024, 5, 2)
# Channels and cities by the day they are first met: what comes after the last training date has no number.
CHANNELS = ((date(2024, 1, 5), "web"), (date(2024, 1, 6), "web"), (TRAIN, "app"), (TRAIN + timedelta(days=1), "late"))


def _event(number: int, day: date, channel: str) -> dict[str, object]:
    event: dict[str, object] = dict.fromkeys(EVENTS.schema.names)
    numbers = dict.fromkeys(("quantity", "amount_cents", "discount_cents", "net_cents", "points"), 0)
    instant = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return (
        event
        | numbers
        | {
            "event_id": f"e{number}",
            "member_id": "a",
            "event_type": "order",
            "event_ts": instant,
            "day": day,
            "month": day.replace(day=1),
            "product_id": "p1",
            "channel": channel,
            "stitched": False,
            "source": "orders",
        }
    )


@pytest.fixture(scope="module")
def full_run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A shop of one buyer and one silent member after a full run of features."""
    folder = tmp_path_factory.mktemp("sequences")
    config = world_config(num_members=10)
    dates = {
        "train": TrainDates(first=TRAIN, last=TRAIN, every_days=7, refit=False),
        "validation": VALIDATION,
        "test": TEST,
    }
    timeline = config.timeline.model_copy(update={**dates, "score": (END,), "data_through": END})
    limits = VocabularyConfig(min_count=1, max_entries=9)
    update = {"sequence_events": 3, "vocabulary": limits, "profile": {"city": "category", "size": "number"}}
    more = [{"measure": "num_events_by_channel", "aggregate": "part_share", "window_days": 91, "part": 0}]
    features = FeaturesConfig.model_validate({**config.features.model_dump(), **update, "more": more})
    config = config.model_copy(update={"timeline": timeline, "features": features, "output_dir": folder})
    run = Run(config, DeltaTables(spark, str(folder / "tables"), {"run_id": "test"}))
    rows = [_event(number, day, channel) for number, (day, channel) in enumerate([*CHANNELS, (END, "web")])]
    run.tables.replace(EVENTS, spark.createDataFrame([tuple(row.values()) for row in rows], EVENTS.schema))
    since, moved = date(2024, 1, 1), VALIDATION
    profiles = [
        ("a", since, moved, True, {"city": "Ulm", "size": "2"}, since, {}),
        ("a", moved, None, True, {"city": "Oslo"}, moved, {}),
        ("silent", since, None, True, {"city": "Ulm"}, since, {}),
    ]
    run.tables.replace(MEMBERS, spark.createDataFrame(profiles, MEMBERS.schema))
    run.tables.replace(PRODUCTS, spark.createDataFrame([("p1", "food", None, {})], PRODUCTS.schema))
    for stage in (run_member_days, run_levels):
        stage(run)
    result = run_features(run)
    assert set(result.written) == {"member_features", "member_sequences", "member_event_sequences"}
    tiles = {"member_days", "member_day_breakdowns"}
    assert set(result.read) == {"members", "member_levels", "events", "products"} | tiles
    assert result.counts.rows_in == result.counts.rows_out == 2 * 4
    return run


@pytest.fixture
def single_date(full_run: Run) -> Iterator[Run]:
    """A run of one date; the vocabulary file is mended afterwards."""
    path = vocabulary_path(full_run)
    good = path.read_text(encoding="utf-8")
    yield replace(full_run, as_of_dates=(TEST,))
    path.write_text(good, encoding="utf-8")


def rows_of(run: Run, table: str, *columns: str) -> list[tuple[object, ...]]:
    """Some columns of all rows, by member and date."""
    rows = run.tables.read(table).select("member_id", "as_of_date", *columns)
    return [tuple(row) for row in rows.orderBy("member_id", "as_of_date").collect()]


def test_vocabularies_are_those_of_the_last_training_date_and_give_the_numbers_of_every_date(full_run: Run):
    kept = Vocabulary.from_json(vocabulary_path(full_run).read_text(encoding="utf-8"))
    assert kept.fitted_through == TRAIN
    assert kept.entries == {
        "event_category": ("food",),
        "event_channel": ("web", "app"),
        "profile_city": ("Ulm",),
    }
    assert rows_of(full_run, "member_event_sequences", "num_events", "channel")[:4] == [
        ("a", TRAIN, 3, [3, 2, 2]),
        ("a", VALIDATION, 3, [1, 3, 2]),
        ("a", TEST, 3, [1, 3, 2]),
        ("a", END, 3, [2, 1, 3]),
    ]
    assert rows_of(full_run, "member_features", "profile_city", "profile_size")[:5] == [
        ("a", TRAIN, 2, 2.0),
        ("a", VALIDATION, 1, None),
        ("a", TEST, 1, None),
        ("a", END, 1, None),
        ("silent", TRAIN, 2, None),
    ]
    assert published_meaning(full_run)["profile_city"] == profile_of(full_run)[0].digest
    shares = rows_of(full_run, "member_features", "num_events_by_channel_0_share_91d")
    assert [row[2] for row in shares] == [pytest.approx(2 / 3), 0.5, 0.0, pytest.approx(1 / 3), *[None] * 4]
    page = (full_run.shop_dir / "runs" / "features" / "catalogue.md").read_text(encoding="utf-8")
    assert "| `profile_city` |" in page and "| `profile_size` |" in page
    assert "Category 0 = web, 1 = app, 15 = all others." in page


def test_a_single_date_is_made_by_the_kept_vocabulary_and_leaves_the_others(single_date: Run):
    tables = ("member_features", "member_event_sequences")
    before = {name: single_date.tables.read(name).orderBy("member_id", "as_of_date").collect() for name in tables}
    assert run_features(single_date).counts.rows_out == 2
    after = {name: single_date.tables.read(name).orderBy("member_id", "as_of_date").collect() for name in tables}
    assert after == before


def test_a_single_date_that_would_mean_something_else_is_refused(single_date: Run):
    path = vocabulary_path(single_date)
    good = Vocabulary.from_json(path.read_text(encoding="utf-8"))
    longer = single_date.config.features.model_copy(update={"sequence_events": 4})
    with pytest.raises(ArtefactError, match=r"of the table mean something else: num_events 3 there, 4 here\. Run"):
        run_features(replace(single_date, config=single_date.config.model_copy(update={"features": longer})))
    path.write_text(replace(good, entries={**good.entries, "event_channel": ("app", "web")}).to_json())
    with pytest.raises(ArtefactError, match=rf"mean something else: vocabulary {good.version} there, v\w+ here\. Run"):
        run_features(single_date)
    path.write_text(replace(good, entries={"event_channel": (), "event_category": ()}).to_json())
    with pytest.raises(ArtefactError, match=r"the vocabulary lacks columns of this configuration: profile_city\. Run"):
        run_features(single_date)
    path.unlink()
    with pytest.raises(ArtefactError, match=r"the vocabulary of the features is missing: .+vocabulary.json\. Run"):
        run_features(single_date)


def test_a_profile_category_of_other_entries_is_refused_also_without_event_sequences(single_date: Run):
    path = vocabulary_path(single_date)
    good = Vocabulary.from_json(path.read_text(encoding="utf-8"))
    path.write_text(replace(good, entries={**good.entries, "profile_city": ("Oslo",)}).to_json())
    none = single_date.config.features.model_copy(update={"sequence_events": 0})
    with pytest.raises(ConfigError, match=r"published features changed their meaning: profile_city"):
        run_features(replace(single_date, config=single_date.config.model_copy(update={"features": none})))
