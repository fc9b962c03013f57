"""Without Spark a member's rows become the same features, to the bit, as Spark's expressions make of them."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import SecretStr
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.delta_log import read_snapshot
from memberlevel_spark.examples.build import join_features, level_needs, model_inputs
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.features.breakdowns import declared_breakdowns
from memberlevel_spark.features.columns import window_columns
from memberlevel_spark.features.point_in_time import (
    build_breakdown_tiles,
    build_levels,
    build_point_in_time,
    build_tiles,
    configured_features,
    configured_measures,
    configured_rules,
    window_plan,
)
from memberlevel_spark.features.profiles import profile_features
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.features.windows import compute_batch
from memberlevel_spark.ingest.identifiers import Pseudonyms, normalised, pseudonym_of
from memberlevel_spark.schemas import MEMBER_DAYS, TableContract
from memberlevel_spark.serving.history import as_date, as_number, history_batch
from memberlevel_spark.serving.member_rows import READ, MemberRows
from memberlevel_spark.tables import DeltaTables
from tests.tiny_shop import tiny_config, tiny_sources

pytestmark = pytest.mark.spark

VOCABULARY = Vocabulary(
    date(2024, 6, 1), {"event_category": ("wine",), "event_channel": (), "profile_city": ("Ulm", "Kiel")}
)
DATES = (date(2024, 6, 1), date(2024, 7, 27), date(2024, 10, 26))
CONFIG = tiny_config()
CONFIG = CONFIG.model_copy(
    update={
        "features": CONFIG.features.model_copy(
            update={"profile": {"city": "category", "size": "number"}, "sequence_events": 0}
        )
    }
)


def rows_by_member(frames: dict[str, DataFrame]) -> dict[str, MemberRows]:
    """The rows of every member, as the tables hold them."""
    tables = {}
    for field, (_, schema) in READ.items():
        read = frames[field].select("member_id", *schema.names).toArrow()
        tables[field] = read.cast(pa.schema([("member_id", pa.string()), *schema]))
    ids = sorted(set(tables["profiles"]["member_id"].to_pylist()))
    own = {
        name: {field: table.filter(pa.compute.equal(table["member_id"], name)) for field, table in tables.items()}
        for name in ids
    }
    return {
        name: MemberRows(**{field: table.drop_columns("member_id") for field, table in each.items()})
        for name, each in own.items()
    }


def test_every_member_of_a_shop_with_levels_by_hand_late_profiles_and_breakdowns_has_the_same_features(
    spark: SparkSession,
):
    sources, rules = tiny_sources(spark), configured_rules(CONFIG)
    tiles = build_tiles(sources.events, sources.products, CONFIG).persist()
    breakdown_tiles = build_breakdown_tiles(sources.events, sources.products, CONFIG)
    assert breakdown_tiles is not None
    levels = build_levels(sources.members, tiles, CONFIG)
    by_member = rows_by_member(
        {"profiles": sources.members, "tiles": tiles, "levels": levels, "breakdowns": breakdown_tiles}
    )
    profile = profile_features(CONFIG.features.profile, VOCABULARY)
    breakdowns = declared_breakdowns(configured_features(CONFIG), VOCABULARY)
    made = build_point_in_time(sources, CONFIG, dates=DATES, vocabulary=VOCABULARY)
    inputs = model_inputs(
        configured_features(CONFIG), rules, configured_measures(CONFIG), 2, profile=profile, breakdowns=breakdowns
    )
    middle = (1.5,) * len(inputs)
    encoder = Encoder(inputs, rules.num_levels, middle, middle, level_needs(rules))
    joined = join_features(made["member_features"], made["member_sequences"]).persist()
    encoded = joined.select("member_id", "as_of_date", encoder.encode().alias("features"))
    expected = {(row[0], row[1]): row[2] for row in encoded.collect()}
    table = {(row["member_id"], row["as_of_date"]): row.asDict() for row in joined.collect()}
    assert len(expected) == 11 * 3 + 1 and len(by_member) == 12
    found = {}
    for day in DATES:
        plan = window_plan(CONFIG, (day,), profile=profile, breakdowns=breakdowns)
        for name, rows in by_member.items():
            windows = compute_batch(history_batch(rows, plan), plan)
            if windows.num_rows:
                columns = window_columns(windows, plan)
                found[name, day] = encoder.encode_columns(columns)[0].tolist()
                told = {
                    column: [None if np.isnan(v) else v for v in np.atleast_1d(values[0])]
                    for column, values in columns.items()
                }
                row = table[name, day]
                assert {c: v if isinstance(row[c], list) else v[0] for c, v in told.items()} == {
                    c: row[c] for c in told
                }
    assert found == expected


def test_text_is_read_as_spark_casts_it(spark: SparkSession):
    dates = [
        "2024-12-31",
        " 2024-2-3 ",
        "2024-12-31T23:00:00+01:00",
        "2024-12-31 soon",
        "2024-12",
        "2024",
        "2024-02-30",
    ]
    dates += ["31.12.2024", "2024-12-31x", "", "soon", "\t2024-01-02\n", "24-01-02"]
    numbers = [
        "2",
        " -1.5e3\t",
        "+.5",
        "5.",
        "2d",
        "2F",
        "1_000",
        "1,5",
        "9.3e18",
        "9.2e18",
        "NaN",
        "Infinity",
        "-inf",
        "1e999",
    ]
    numbers += ["", "many", ".", "1e", "0x10", "--1", "1 2", "1dd"]
    texts = spark.createDataFrame([(text,) for text in dates], "text string")
    cast = texts.select("text", F.col("text").try_cast("date")).collect()
    assert {text: as_date(text) for text in dates} == {row[0]: row[1] for row in cast}
    texts = spark.createDataFrame([(text,) for text in numbers], "text string")
    number = F.col("text").try_cast("double")
    cast = texts.select("text", F.when(F.abs(number) < 2.0**63, number)).collect()
    assert {text: as_number(text) for text in numbers} == {row[0]: row[1] for row in cast}


@pytest.mark.parametrize("method", ["off", "hmac_sha256"])
def test_identifiers_become_what_they_became_on_their_way_in(spark: SparkSession, method: str):
    given = ["cx011", " cx011\t", "0123", "M\u00fcller", "Mu\u0308ller", "\uff21\uff22", "a\u200bb", "x" * 500]
    key = SecretStr("a key for tests only, 32 bytes long")
    config = CONFIG.pseudonyms.model_copy(update={"method": method, "key": key})
    pseudonyms = Pseudonyms.of(config, spark)
    frame = pseudonyms.with_pads(spark.createDataFrame([(text,) for text in given], "given string"))
    made = frame.select("given", pseudonyms.member(normalised(F.col("given"), unicode=True))).collect()
    assert {text: pseudonym_of(config, text) for text in given} == {row[0]: row[1] for row in made}


def test_the_files_of_a_table_with_a_long_history_are_those_that_spark_reads(spark: SparkSession, tmp_path: Path):
    tables = DeltaTables(spark, str(tmp_path), {"run_id": "test"})
    contract = TableContract("member_days", ("member_id", "day"), MEMBER_DAYS.schema, prune_by=("day",))
    first = date(2024, 1, 1)
    for number in range(13):
        day = first + timedelta(days=number)
        rows = [(f"m{number}", day, *([1] * (len(MEMBER_DAYS.schema) - 2)))]
        tables.replace_slice(contract, spark.createDataFrame(rows, MEMBER_DAYS.schema), {"day": [day]})
    tables.replace_slice(contract, spark.createDataFrame([], MEMBER_DAYS.schema), {"day": [first]})
    log = sorted(path.name for path in (tmp_path / "member_days" / "_delta_log").glob("*.parquet"))
    assert log == [f"{10:020d}.checkpoint.parquet"]
    for path in (tmp_path / "member_days" / "_delta_log").glob("*0.json"):
        if int(path.stem) < 10:
            path.unlink()  # as Delta does after thirty days
    snapshot = read_snapshot(tmp_path / "member_days")
    assert snapshot.version == tables.version("member_days") == 14
    assert tuple(file.path for file in snapshot.files) == tables.live_files("member_days", 14)
    assert sorted(file.largest["day"] for file in snapshot.files) == [
        str(first + timedelta(days=n)) for n in range(1, 13)
    ]
