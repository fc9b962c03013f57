"""The notebooks, executed one after the other as Databricks would, on a copy of the small shop after a full run."""

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from tests.small_shop import BROKEN, NUM_MEMBERS

pytestmark = pytest.mark.e2e
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ("explore_features", "train_and_compare", "score_and_explain", "monitor")


class Widgets:
    """The part of `dbutils.widgets` the notebooks use."""

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


class Shown:
    """What a notebook displays: tables as lists of rows, drawings as text."""

    def __init__(self) -> None:
        self.tables: list[list[dict[str, Any]]] = []
        self.drawings: list[str] = []

    def table(self, frame: DataFrame) -> None:
        self.tables.append([row.asDict() for row in frame.collect()])


@pytest.fixture(scope="module")
def execute(
    spark: SparkSession, shop: Path, small_shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Shown]:
    own = tmp_path_factory.mktemp("notebooks")
    shutil.copytree(shop, own / shop.name)

    def run(name: str, **widgets: str) -> Shown:
        shown = Shown()
        dbutils = Dbutils(config=str(small_shop), output_dir=str(own), **widgets)
        given = {"spark": spark, "dbutils": dbutils, "display": shown.table, "displayHTML": shown.drawings.append}
        runpy.run_path(str(NOTEBOOKS / f"{name}.py"), init_globals=given)
        return shown

    return run


def test_the_first_explores_what_was_made_of_the_sources(execute: Callable[..., Shown], capsys: Any) -> None:
    shown = execute("explore_features")
    quarantine, tiles, spend, levels, features = shown.tables
    assert {row["rule"]: row["count"] for row in quarantine} == BROKEN
    assert len(tiles) == 10 and all(row["spend_cents"] > 0 for row in spend)
    assert sum(row["members"] for row in levels if row["week"] == levels[-1]["week"]) == NUM_MEMBERS
    assert len(features) == 20 and all(0 <= row["upgrade_auc"] <= 1 for row in features)
    strengths = [abs(row["upgrade_auc"] - 0.5) for row in features]
    assert strengths == sorted(strengths, reverse=True) and strengths[0] > 0.2
    assert len(shown.drawings) == 1 and "# Features" in capsys.readouterr().out


def test_the_second_trains_two_models_and_sets_them_beside_their_rivals(
    execute: Callable[..., Shown], capsys: Any
) -> None:
    shown = execute("train_and_compare", variant="training.max_epochs=1 model.calibration=[]")
    compared, parts, groups = shown.tables
    by_name = {row["forecaster"]: row for row in compared}
    assert {"configured", "variant", "persistence", "boosted_tree"} <= set(by_name)
    assert by_name["variant"]["log_loss"] != by_name["configured"]["log_loss"]
    assert {row["dimension"] for row in parts} >= {"level now", "tenure", "city", "age"}
    assert [row["group"] for row in groups] == ["40 or more", "under 40", "(small)"]
    assert len(shown.drawings) == 3
    assert "is champion" in capsys.readouterr().out


def test_the_third_scores_everybody_and_explains_the_likeliest(execute: Callable[..., Shown], capsys: Any) -> None:
    shown = execute("score_and_explain")
    scores, advice, reasons = shown.tables
    chances = [row["p_up"] for row in scores]
    assert len(scores) == 10 and chances == sorted(chances, reverse=True)
    assert advice and all(row["extra"] > 0 for row in advice) and len(reasons) == 10
    assert len(shown.drawings) == 1
    told = capsys.readouterr().out
    assert f"member {scores[0]['member_id']}" in told and "call_list.csv" in told


def test_the_fourth_shows_alerts_first_and_writes_the_report(execute: Callable[..., Shown], capsys: Any) -> None:
    (watched,) = (shown := execute("monitor")).tables
    severities = [["unknown", "ok", "warn", "alert"].index(row["level"]) for row in watched]
    assert severities[0] == 3 and severities == sorted(severities, reverse=True)
    assert len(shown.drawings) == 4 and all(drawing.startswith("<svg") for drawing in shown.drawings)
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_each_is_in_databricks_source_format(name: str) -> None:
    lines = (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Databricks notebook source"
    assert lines.count("# COMMAND ----------") >= 6
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.py")) == sorted(NAMES)
