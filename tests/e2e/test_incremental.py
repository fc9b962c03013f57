"""Incremental scoring of the small shop: each row is that of a full run, and only who has changed is computed."""

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.cli import run_job
from memberlevel_spark.forecast_schemas import MEMBER_SCORES
from memberlevel_spark.registry.bundle import load_bundle, publish, read_alias, write_alias
from memberlevel_spark.scoring import stage
from memberlevel_spark.scoring.predictor import PackedModel
from tests.small_shop import NUM_MEMBERS

pytestmark = pytest.mark.e2e
NEXT = "2024-10-26"
Job = Callable[..., int]


@pytest.fixture(scope="module")
def own_shop(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop after a full run, whose scores may be changed."""
    own = tmp_path_factory.mktemp("incremental") / shop.name
    shutil.copytree(shop, own)
    return own


@pytest.fixture
def job(own_shop: Path, small_shop: Path) -> Job:
    def run(name: str, *more: str) -> int:
        return run_job(name, ["--config", str(small_shop), "--set", f"output_dir={own_shop.parent}", *more])

    return run


def table(spark: SparkSession, shop: Path, name: str = "member_scores") -> DeltaTable:
    return DeltaTable.forPath(spark, str(shop / "tables" / name))


def rows(spark: SparkSession, shop: Path, name: str = "member_scores") -> list[Row]:
    return sorted(table(spark, shop, name).toDF().collect(), key=str)


def computed(caplog: pytest.LogCaptureFixture) -> str:
    """What the line of the last run says of kept and computed rows."""
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("score ")]
    return line.partition(f"as of {NEXT}, ")[2]


def test_days_that_pass_are_read_too_so_that_nobody_is_equal_on_two_dates(spark: SparkSession, own_shop: Path) -> None:
    hashes: dict[str, list[int]] = {}
    for row in rows(spark, own_shop):
        hashes.setdefault(row["member_id"], []).append(row["features_hash"])
    assert len(hashes) == NUM_MEMBERS
    assert {len(of_member) - len({*of_member}) for of_member in hashes.values()} == {0}


def test_after_late_data_only_whom_it_changed_is_computed_and_every_row_is_that_of_a_full_run(
    spark: SparkSession, own_shop: Path, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    features = table(spark, own_shop, "member_features")
    some = (F.col("as_of_date") == NEXT) & (F.pmod(F.xxhash64("member_id"), F.lit(10)) == 0)
    num_late = features.toDF().where(some).count()
    assert 5 < num_late < 40
    before = rows(spark, own_shop)
    features.update(some, {"spend_cents_sum_28d": F.col("spend_cents_sum_28d") + 9_000})
    with caplog.at_level("INFO"):
        assert job("score", "--incremental", "--as-of", NEXT) == 0
    assert computed(caplog) == f"{NUM_MEMBERS - num_late} rows kept, {num_late} computed"
    incremental = rows(spark, own_shop)
    assert len({*map(str, incremental)} - {*map(str, before)}) == num_late
    stamp = json.loads(table(spark, own_shop).history(1).collect()[0]["userMetadata"])
    assert stamp["kept"] == NUM_MEMBERS - num_late and set(stamp["inputs"]) == {"member_features", "member_sequences"}
    assert job("score", "--as-of", NEXT) == 0
    assert rows(spark, own_shop) == incremental
    assert rows(spark, own_shop, "current_scores") == [row for row in incremental if str(row["as_of_date"]) == NEXT]


def test_a_second_run_computes_nobody_and_changes_nothing(
    spark: SparkSession, own_shop: Path, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    before = rows(spark, own_shop)
    with caplog.at_level("INFO"):
        assert job("score", "--incremental", "--as-of", NEXT) == 0
    assert computed(caplog) == f"{NUM_MEMBERS} rows kept, 0 computed"
    assert rows(spark, own_shop) == before


def test_the_next_day_keeps_whom_no_day_has_changed(
    spark: SparkSession, own_shop: Path, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    """Days since joining change for everybody: here the next day has the features of the day before."""
    names = ("member_features", "member_sequences")
    good = {name: table(spark, own_shop, name).history(1).collect()[0]["version"] for name in names}
    later = date.fromisoformat(NEXT) + timedelta(days=1)
    try:
        for name in names:
            known = table(spark, own_shop, name).toDF().where(F.col("as_of_date") == NEXT)
            again = known.withColumn("as_of_date", F.lit(later)).localCheckpoint()
            again.write.format("delta").mode("append").save(str(own_shop / "tables" / name))
        with caplog.at_level("INFO"):
            assert job("score", "--incremental", "--as-of", str(later)) == 0
        assert f"{NUM_MEMBERS} rows kept, 0 computed" in caplog.text
        kept = [row for row in rows(spark, own_shop) if row["as_of_date"] == later]
        assert job("score", "--as-of", str(later)) == 0
        assert len(kept) == NUM_MEMBERS
        assert [row for row in rows(spark, own_shop) if row["as_of_date"] == later] == kept
    finally:
        table(spark, own_shop).delete(F.col("as_of_date") == F.lit(later))
        for name, version in good.items():
            table(spark, own_shop, name).restoreToVersion(version)


def test_a_kept_score_that_somebody_changed_stops_the_job_and_nothing_is_written(
    spark: SparkSession, own_shop: Path, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = table(spark, own_shop)
    good = ledger.history(1).collect()[0]["version"]
    first = ledger.toDF().where(F.col("as_of_date") == NEXT).orderBy(F.xxhash64("member_id")).first()
    assert first is not None
    try:
        ledger.update(F.col("member_id") == first["member_id"], {"p_buy": F.col("p_buy") + 1e-5})
        before = rows(spark, own_shop)
        assert job("score", "--incremental", "--as-of", NEXT, "--set", "scoring.proof_members=1") == 4
        assert rows(spark, own_shop) == before
    finally:
        ledger.restoreToVersion(good)
    told = capsys.readouterr().err
    assert "kept scores are not what the model says now: 1 of 1 in the sample" in told and "Nothing was written" in told


def test_another_model_computes_everybody_and_says_so(
    spark: SparkSession, own_shop: Path, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    registry = own_shop / "registry"
    version = read_alias(registry, "champion")
    assert version is not None
    files = load_bundle(registry, version).files
    other = publish(registry, {**files, "model.json": files["model.json"] + b" "})
    write_alias(registry, "champion", other, {})
    try:
        with caplog.at_level("INFO"):
            assert job("score", "--incremental", "--as-of", NEXT) == 0
    finally:
        write_alias(registry, "champion", version, {})
    told = f"all {NUM_MEMBERS} rows computed: this model has scored nobody with the same features"
    assert computed(caplog) == told


def test_a_ledger_from_before_there_were_hashes_is_filled_by_a_full_run(
    spark: SparkSession, own_shop: Path, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    path = own_shop / "tables" / "member_scores"
    before = table(spark, own_shop).toDF().where(F.col("as_of_date") != NEXT).drop("features_hash").localCheckpoint()
    shutil.rmtree(path)
    before.write.format("delta").save(str(path))
    with caplog.at_level("INFO"):
        assert job("score", "--incremental", "--as-of", NEXT) == 0
    assert computed(caplog).startswith(f"all {NUM_MEMBERS} rows computed")
    ledger = table(spark, own_shop).toDF()
    assert ledger.columns == MEMBER_SCORES.schema.names
    assert ledger.where((F.col("as_of_date") == NEXT) == F.col("features_hash").isNull()).isEmpty()


def test_who_is_kept_passes_the_network_for_the_proof_only(
    spark: SparkSession, own_shop: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven for the proof, and nobody beside them."""
    passed: list[int] = []
    honest = stage.apply_model

    def counted(members, model: PackedModel, **more):  # type: ignore[no-untyped-def]
        passed.append(members.count())
        return honest(members, model, **more)

    monkeypatch.setattr(stage, "apply_model", counted)
    assert job("score", "--incremental", "--as-of", NEXT, "--set", "scoring.proof_members=7") == 0
    assert passed == [7, 0]
