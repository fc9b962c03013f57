"""The stage evaluate with the boosted trees that Spark fits, on the small shop."""

import json
import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.config import load_config
from memberlevel_spark.evaluation.stage import load_evaluation, run_evaluate
from memberlevel_spark.run import Run
from memberlevel_spark.tables import DeltaTables
from memberlevel_spark.training.stage import run_dir

pytestmark = pytest.mark.e2e

FEW = ("evaluation.spark_trees_rounds=2", "evaluation.spark_trees_depth=2")


def run_with(spark: SparkSession, config: Path, out: Path, *settings: str) -> Run:
    tables = DeltaTables(spark, str(out / "small_shop" / "tables"), {})
    return Run(load_config(config, [f"output_dir={out}", *settings]), tables)


@pytest.mark.parametrize(
    ("settings", "is_there"),
    [
        (("evaluation.spark_trees=always",), True),
        (("evaluation.boosted_tree_rows=2000",), True),  # the trees learn from 2,700 rows
        (("evaluation.boosted_tree_rows=2000", "evaluation.spark_trees=never"), False),
    ],
)
def test_trees_on_spark_are_judged_beside_the_driver_s_where_they_are_asked_for(
    spark: SparkSession, shop: Path, small_shop: Path, tmp_path: Path, settings: tuple[str, ...], is_there: bool
):
    trained = run_dir(run_with(spark, small_shop, shop.parent))
    own = run_with(spark, small_shop, tmp_path, *FEW, *settings)
    shutil.copytree(shop / "tables", tmp_path / "small_shop" / "tables")
    shutil.copytree(shop / "runs" / "features", tmp_path / "small_shop" / "runs" / "features")
    shutil.copytree(trained, run_dir(own))
    told = run_evaluate(own)
    test = load_evaluation(own)["test"]
    names = ["model", "boosted_tree", *["spark_trees"] * is_there, "logistic", "run_rate", "persistence", "majority"]
    assert list(test) == [*names, "bg_nbd"]
    assert ("spark_trees 0." in told.note) == is_there
    if is_there:
        assert set(test["spark_trees"]) == set(test["boosted_tree"])
        assert test["spark_trees"]["log_loss"] < test["majority"]["log_loss"]
        gains = load_evaluation(own)["gains"]
        assert {row["event"] for row in gains if row["forecaster"] == "spark_trees"} == {"upgrade", "downgrade"}
        assert "spark_trees" in json.loads((tmp_path / "small_shop" / "metrics.json").read_text())["test"]
