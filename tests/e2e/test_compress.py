"""The job that makes the trained model smaller, on the small shop."""

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.cli import run_job
from memberlevel_spark.registry.bundle import read_alias

pytestmark = pytest.mark.e2e

SETTINGS = ("compression.pruned_shares=[0.5]", "compression.student_hidden=[4]", "compression.num_timings=1")
NAMES = ["model", "model_int8", "model_pruned_0.5", "student_distilled", "student_alone", "student_distilled_int8"]


def test_each_smaller_network_stands_beside_the_trained_one(spark: SparkSession, shop: Path, small_shop: Path):
    evaluated = json.loads((shop / "metrics.json").read_text())["test"]["model"]
    champion = read_alias(shop / "registry", "champion")
    arguments = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]
    assert run_job("compress", [*arguments, *(part for each in SETTINGS for part in ("--set", each))]) == 0
    networks = {row["name"]: row for row in json.loads((shop / "compression.json").read_text())["networks"]}
    assert list(networks) == NAMES
    whole = networks["model"]["metrics"]
    assert {name: whole[name] for name in evaluated} == pytest.approx(evaluated)
    assert networks["model_int8"]["num_bytes"] < networks["model"]["num_bytes"]
    assert networks["model_int8"]["same_level_share"] > 0.9
    assert networks["model_pruned_0.5"]["share_of_zeros"] == pytest.approx(0.5, abs=0.01)
    assert networks["student_distilled"]["num_bytes"] < 0.7 * networks["model"]["num_bytes"]
    assert networks["student_distilled"]["metrics"]["log_loss"] != networks["student_alone"]["metrics"]["log_loss"]
    page = (shop / "compression.md").read_text()
    assert all(f"| {name} |" in page for name in NAMES) and "judged as of 2024-09-28" in page
    assert (shop / "compression.png").read_bytes().startswith(b"\x89PNG")
    (folder,) = shop.glob("runs/train-*/compressed")
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert all((folder / name / "model.safetensors").is_file() for name in NAMES)
    assert read_alias(shop / "registry", "champion") == champion


def test_a_shop_that_has_not_been_trained_is_refused(
    spark: SparkSession, shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}", "--set", "seed=99"]
    assert run_job("compress", arguments) == 4
    assert "has not been trained" in capsys.readouterr().err
