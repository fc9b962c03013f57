"""The job that compares models, on the small shop."""

import json
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.cli import run_job

pytestmark = pytest.mark.e2e

SETTINGS = (
    "experiments.num_tests=2",
    "experiments.every_days=28",
    "experiments.seeds=[1, 2]",
    "experiments.variants={softmax: {level_head: softmax}}",
    "experiments.variants_every=8",
    "experiments.num_resamples=20",
    "training.max_epochs=2",
)


def test_every_forecaster_is_judged_on_every_test_date_by_what_was_known_then(
    spark: SparkSession, shop: Path, small_shop: Path
):
    arguments = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]
    before = spark.read.format("delta").load(str(shop / "tables" / "member_features")).count()
    assert run_job("experiments", [*arguments, *(part for each in SETTINGS for part in ("--set", each))]) == 0
    record = json.loads((shop / "experiments.json").read_text())
    assert record["test_dates"] == ["2024-08-31", "2024-09-28"]
    found = {(row["test"], row["forecaster"], row["seed"]) for row in record["results"]}
    assert {(day, "model", seed) for day in record["test_dates"] for seed in (1, 2)} <= found
    assert {row for row in found if row[1] == "softmax"} == {("2024-09-28", "softmax", seed) for seed in (1, 2)}
    assert {row[2] for row in found if row[1] == "boosted_tree"} == {1, 2}
    assert {row[2] for row in found if row[1] == "persistence"} == {1}
    # Only the later date has an earlier one whose labels were known by then.
    assert {row for row in found if row[1] == "calibrated"} == {("2024-09-28", "calibrated", seed) for seed in (1, 2)}
    others = {"softmax", "calibrated", "boosted_tree", "logistic", "run_rate", "persistence", "majority"}
    assert set(record["differences"]) == others
    examples = spark.read.format("delta").load(str(shop / "tables" / "backtest_examples"))
    days = {row["split"] for row in examples.select("split").distinct().collect()}
    assert days == {*record["test_dates"], *(f"2024-{day}" for day in ("05-11", "06-08", "07-06", "08-03"))}
    assert max(map(date.fromisoformat, days)) == date(2024, 9, 28)
    page = (shop / "experiments.md").read_text()
    assert "## 2 test dates, 2024-08-31 to 2024-09-28" in page and "| model less |" in page
    assert not (shop / "runs" / "experiments").exists()
    assert spark.read.format("delta").load(str(shop / "tables" / "member_features")).count() == before
