"""The job leakage_check on a whole shop: a line per check, exit code 5 for a leak, no table touched."""

import logging
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.cli import run_job
from memberlevel_spark.evaluation import leakage_job

pytestmark = pytest.mark.e2e

FEW = ["--as-of", "2024-09-28", "--set", "leakage.sample_members=40"]


def versions(shop: Path) -> dict[str, int]:
    return {path.name: len(list(path.glob("_delta_log/*.json"))) for path in (shop / "tables").iterdir()}


def lines(caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    told = [record.getMessage().split(": ", 1) for record in caplog.records if record.name == "memberlevel_spark"]
    return {pair[0].removeprefix("leakage_check "): pair[1] for pair in told if len(pair) == 2}


def test_a_clean_shop_passes_with_a_line_per_check_and_nothing_is_written(
    spark: SparkSession, shop: Path, small_shop: Path, caplog: pytest.LogCaptureFixture
):
    before, records = versions(shop), sorted((shop / "runs" / "stages").iterdir())
    with caplog.at_level(logging.INFO, "memberlevel_spark"):
        assert run_job("leakage_check", ["--config", str(small_shop), "--set", f"output_dir={shop.parent}", *FEW]) == 0
    told = lines(caplog)
    assert told["other futures after 2024-09-28"].endswith("rows the same")
    assert told["planted label as of 2024-09-28"] == "found, as it must be"
    assert "features, 2,100 rows; strongest: " in told["each feature alone"]
    assert told["shuffled labels"].startswith("AUC 0.")
    assert versions(shop) == before and sorted((shop / "runs" / "stages").iterdir()) == records


def test_an_alarm_ends_with_exit_code_5_and_names_the_feature(
    spark: SparkSession,
    shop: Path,
    small_shop: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(leakage_job, "_future_checks", lambda *_, **__: [])  # the slow ones, seen above
    options = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}", *FEW]
    assert run_job("leakage_check", [*options, "--set", "leakage.max_feature_auc=0.55"]) == 5
    error = capsys.readouterr().err
    assert "1 of 2 leakage checks failed: features that nearly are an outcome (above 0.55): " in error
    assert "tells moved_down with AUC 0." in error and "Traceback" not in error
