"""The job that compares models, on the small shop."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.cli import run_job
from tests.small_shop import NUM_MEMBERS

pytestmark = pytest.mark.e2e

SETTINGS = (
    "experiments.num_tests=2",
    "experiments.every_days=28",
    "experiments.seeds=[1, 2]",
    "experiments.variants={softmax: {level_head: softmax}, lognormal: {spend_head: lognormal}}",
    "experiments.variants_every=8",
    "experiments.num_resamples=20",
    "experiments.learning_curve_shares=[1.0, 0.5]",
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
    for name in ("softmax", "lognormal"):
        assert {row for row in found if row[1] == name} == {("2024-09-28", name, seed) for seed in (1, 2)}
    assert {row[2] for row in found if row[1] == "boosted_tree"} == {1, 2}
    assert {row[2] for row in found if row[1] == "persistence"} == {1}
    # Only the later date has an earlier one whose labels were known by then.
    assert {row for row in found if row[1] == "calibrated"} == {("2024-09-28", "calibrated", seed) for seed in (1, 2)}
    others = {"softmax", "lognormal", "calibrated", "boosted_tree", "logistic", "run_rate", "persistence", "majority"}
    assert set(record["differences"]) == others
    spend = {
        row["forecaster"]: row["spend_mae"]
        for row in record["results"]
        if (row["test"], row["seed"]) == ("2024-09-28", 1) and row["forecaster"] in ("model", "lognormal")
    }
    assert 0.5 < spend["lognormal"] / spend["model"] < 2 and spend["lognormal"] != spend["model"]
    examples = spark.read.format("delta").load(str(shop / "tables" / "backtest_examples"))
    days = {row["split"] for row in examples.select("split").distinct().collect()}
    assert days == {*record["test_dates"], *(f"2024-{day}" for day in ("05-11", "06-08", "07-06", "08-03"))}
    assert max(map(date.fromisoformat, days)) == date(2024, 9, 28)
    page = (shop / "experiments.md").read_text()
    assert "## 2 test dates, 2024-08-31 to 2024-09-28" in page and "| model less |" in page
    _check_learning_curve(spark, shop, record["learning_curve"])
    assert "## Learning curve" in page and (shop / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert not (shop / "runs" / "experiments").exists() and not (shop / "runs" / "learning_curve").exists()
    assert spark.read.format("delta").load(str(shop / "tables" / "member_features")).count() == before


def _check_learning_curve(spark: SparkSession, shop: Path, points: list[dict[str, Any]]) -> None:
    asked = [(row["share"], row["forecaster"], row["seed"]) for row in points]
    assert asked == [
        (share, name, seed) for share in (0.5, 1.0) for name in ("model", "boosted_tree") for seed in (1, 2)
    ]
    members = {row["share"]: row["members"] for row in points}
    rows = {row["share"]: row["rows"] for row in points}
    assert members[1.0] == NUM_MEMBERS and 0.3 * NUM_MEMBERS < members[0.5] < 0.7 * NUM_MEMBERS
    assert rows == {share: 5 * number for share, number in members.items()}  # five training dates, the same members
    examples = spark.read.format("delta").load(str(shop / "tables" / "learning_curve_examples"))
    assert {row["split"]: row["count"] for row in examples.groupBy("split").count().collect()} == {
        "0.5": rows[0.5],
        "1": rows[1.0] - rows[0.5],
    }
