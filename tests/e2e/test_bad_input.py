"""Broken inputs and damaged tables: a clear line, the right exit code, nothing lost."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from memberlevel_spark.cli import run_job
from memberlevel_spark.config import load_config
from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError
from memberlevel_spark.evaluation import stage as evaluation_stage
from memberlevel_spark.features import stage as features_stage
from memberlevel_spark.ingest import stage as ingest_stage
from memberlevel_spark.levels import stage as levels_stage
from memberlevel_spark.run import Run
from memberlevel_spark.session import get_session
from memberlevel_spark.tables import DeltaTables, Written
from tests.small_shop import write_small_shop

pytestmark = pytest.mark.e2e


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A small shop of its own, to be broken."""
    return write_small_shop(tmp_path)


def run(stage: str, config: Path, *options: str) -> int:
    return run_job(stage, ["--config", str(config), "--set", f"output_dir={config.parent / 'out'}", *options])


def test_an_empty_source_is_named(spark: SparkSession, fresh: Path, capsys: pytest.CaptureFixture[str]):
    (fresh.parent / "orders.csv").write_text("order_id,line,customer,ordered_at,sku,units,paid,rebate\n")
    assert run("bronze", fresh) == 3
    assert "sources have no rows: orders" in capsys.readouterr().err


def test_a_missing_source_column_and_too_many_bad_rows(
    spark: SparkSession, fresh: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("bronze", fresh) == 0
    assert run("silver", fresh, "--set", "quality.max_quarantine_share=0.0001") == 3
    assert "too many rows break a rule: quarantined: 5 of" in capsys.readouterr().err
    text = fresh.read_text().replace("amount: paid", "amount: payed")
    fresh.write_text(text)
    assert run("silver", fresh) == 2
    assert "source orders cannot be mapped to events: payed" in capsys.readouterr().err


def test_a_table_that_was_never_made_is_named(spark: SparkSession, fresh: Path, capsys: pytest.CaptureFixture[str]):
    assert run("member_days", fresh) == 4
    assert "a table is missing: events" in capsys.readouterr().err


def test_scoring_without_a_champion_says_so(spark: SparkSession, fresh: Path, capsys: pytest.CaptureFixture[str]):
    assert run("score", fresh) == 4
    assert "there is no champion to score with" in capsys.readouterr().err


def test_a_log_that_ends_before_data_through_is_refused(
    spark: SparkSession, shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    options = ["--set", "timeline.data_through=2024-12-24", "--set", f"output_dir={shop.parent}"]
    assert run_job("member_days", ["--config", str(small_shop), *options]) == 3
    assert "the events end before timeline.data_through: 2024-10-26, expected 2024-12-24" in capsys.readouterr().err


def test_a_deleted_data_file_is_one_line_and_exit_code_4(
    spark: SparkSession, shop: Path, small_shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    broken = tmp_path / "out" / "small_shop"
    shutil.copytree(shop, broken)
    for path in (broken / "tables" / "member_days").glob("*.parquet"):
        path.unlink()
    assert run_job("features", ["--config", str(small_shop), "--set", f"output_dir={tmp_path / 'out'}"]) == 4
    error = capsys.readouterr().err
    assert "a file of a table or source is missing or damaged" in error and "\tat " not in error


def test_other_features_than_the_tables_have_need_a_rebuild(
    spark: SparkSession, shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    options = ["--set", "features.windows_days=[7]", "--as-of", "2024-10-26", "--set", f"output_dir={shop.parent}"]
    assert run_job("features", ["--config", str(small_shop), *options]) == 4
    assert "a table has other columns than this configuration makes: member_features" in capsys.readouterr().err


def run_of(spark: SparkSession, shop: Path, small_shop: Path) -> Run:
    config = load_config(small_shop, [f"output_dir={shop.parent}"])
    return Run(config, DeltaTables(spark, str(shop / "tables"), {}))


def test_members_that_vanish_in_the_replay_stop_the_job(
    spark: SparkSession, shop: Path, small_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("members", "member_days"):
        shutil.copytree(shop / "tables" / name, tmp_path / "small_shop" / "tables" / name)
    build = levels_stage.build_member_levels

    def lossy(*arguments: Any, **options: Any) -> DataFrame:
        return build(*arguments, **options).where("hash(member_id) % 10 <> 0")

    monkeypatch.setattr(levels_stage, "build_member_levels", lossy)
    with pytest.raises(DataQualityError, match=r"members without one current level: \d+ of 150"):
        levels_stage.run_levels(run_of(spark, tmp_path / "small_shop", small_shop))


def test_silver_that_writes_fewer_rejected_rows_than_it_counted_stops(
    spark: SparkSession, fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run("bronze", fresh) == 0
    build = ingest_stage.build_quarantine
    monkeypatch.setattr(ingest_stage, "build_quarantine", lambda *arguments: build(*arguments).limit(0))
    assert run("silver", fresh) == 3
    assert "rows are not accounted for in silver: 6 to quarantine, 0 in it" in capsys.readouterr().err


def test_features_and_sequences_that_differ_in_rows_stop(
    spark: SparkSession, shop: Path, small_shop: Path, monkeypatch: pytest.MonkeyPatch
):
    written = iter([Written(1, lambda: 10), Written(1, lambda: 10), Written(1, lambda: 9)])
    monkeypatch.setattr(Run, "write_dates", lambda *_: next(written))
    with pytest.raises(DataQualityError, match="features and sequences differ in rows"):
        features_stage.run_features(run_of(spark, shop, small_shop))


def test_an_empty_test_date_is_refused(
    spark: SparkSession, shop: Path, small_shop: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(evaluation_stage, "apply_model", lambda test, *_, **__: test.limit(0))
    with pytest.raises(ArtefactError, match="no members to test on: as-of 2024-09-28"):
        evaluation_stage.run_evaluate(run_of(spark, shop, small_shop))


def test_a_session_in_another_zone_or_without_delta_is_refused(spark: SparkSession, small_shop: Path):
    config = load_config(small_shop)
    spark.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
    try:
        with pytest.raises(ConfigError, match="the session's time zone is not UTC: Europe/Berlin"):
            get_session(config)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    assert get_session(config) is spark
