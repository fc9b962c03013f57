"""The walk-through notebook, executed as Databricks would, on the small shop."""

import runpy
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from tests.small_shop import NUM_MEMBERS

pytestmark = pytest.mark.e2e
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "walk_through.py"


class Widgets:
    """The part of `dbutils.widgets` the notebook uses."""

    def __init__(self, **values: str) -> None:
        self.values = values

    def text(self, name: str, default: str) -> None:
        self.values.setdefault(name, default)

    def get(self, name: str) -> str:
        return self.values[name]


class Dbutils:
    """Stands for Databricks' `dbutils`."""

    def __init__(self, **values: str) -> None:
        self.widgets = Widgets(**values)


def test_the_notebook_runs_from_the_sources_to_the_scores(spark: SparkSession, small_shop: Path, tmp_path: Path):
    shown: list[DataFrame] = []
    dbutils = Dbutils(config=str(small_shop), output_dir=str(tmp_path))
    runpy.run_path(str(NOTEBOOK), init_globals={"spark": spark, "dbutils": dbutils, "display": shown.append})
    assert len(shown) == 8
    assert all(not frame.isEmpty() for frame in shown)
    scores = spark.read.format("delta").load(str(tmp_path / "small_shop" / "tables" / "member_scores"))
    assert scores.where("as_of_date = '2024-10-26'").count() == NUM_MEMBERS


def test_the_notebook_is_in_databricks_source_format():
    lines = NOTEBOOK.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Databricks notebook source"
    assert lines.count("# COMMAND ----------") >= 8
