"""The next category on the small shop, which gets products: from the labels to the scores; and what is refused."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.cli import run_job
from memberlevel_spark.forecast_schemas import MEMBER_SCORES
from memberlevel_spark.registry.bundle import load_bundle
from memberlevel_spark.schemas import PRODUCTS
from memberlevel_spark.tables import DeltaTables
from tests.small_shop import NUM_MEMBERS

pytestmark = pytest.mark.e2e

TELLING = ("model.next_categories=2", "training.max_epochs=4")
EXPERIMENTS = (
    "experiments.num_tests=2",
    "experiments.every_days=28",
    "experiments.seeds=[1]",
    "experiments.variants={silent: {next_categories: 0}}",
    "experiments.num_resamples=2",
    "experiments.learning_curve_shares=[1.0]",
)
METRICS = {"category_hit_1", "category_hit_3", "category_log_loss"}
CATEGORIES = ("bread", "tea", "wine")


@pytest.fixture(scope="module")
def own_shop(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop's tables up to the labels, and nothing that was trained."""
    own = tmp_path_factory.mktemp("categories") / shop.name
    shutil.copytree(shop / "tables", own / "tables")
    shutil.copytree(shop / "runs" / "features", own / "runs" / "features")
    return own


def arguments(config: Path, out: Path, settings: Sequence[str]) -> list[str]:
    return ["--config", str(config), *(part for each in (f"output_dir={out}", *settings) for part in ("--set", each))]


def table(spark: SparkSession, shop: Path, name: str) -> DataFrame:
    return spark.read.format("delta").load(str(shop / "tables" / name))


def give_products(spark: SparkSession, shop: Path) -> None:
    """Of 40 products 20 are wine, 12 bread, 6 tea; two have no category."""
    kinds = ["wine"] * 20 + ["bread"] * 12 + ["tea"] * 6 + [None] * 2
    rows = [(f"s{number}", kind, None, {}) for number, kind in enumerate(kinds)]
    DeltaTables(spark, str(shop / "tables"), {}).replace(PRODUCTS, spark.createDataFrame(rows, PRODUCTS.schema))


def forget_next_categories(spark: SparkSession, shop: Path) -> None:
    """Leave a ledger as it was before there were next categories and hashes of the features."""
    before = table(spark, shop, "member_scores").drop("next_categories", "features_hash").localCheckpoint()
    shutil.rmtree(shop / "tables" / "member_scores")
    before.write.format("delta").save(str(shop / "tables" / "member_scores"))


def test_a_shop_without_products_is_refused(own_shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]):
    assert run_job("examples", arguments(small_shop, own_shop.parent, TELLING)) == 2
    told = "the next category is to be forecast, and no order of the training dates has one: model.next_categories is 2"
    assert told in capsys.readouterr().err


def test_the_next_category_is_learned_judged_and_scored(
    spark: SparkSession, own_shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    given = arguments(small_shop, own_shop.parent, TELLING)
    give_products(spark, own_shop)
    forget_next_categories(spark, own_shop)
    for job in ("labels", "examples", "train", "evaluate", "register"):
        assert run_job(job, given) == 0, job
    labels = table(spark, own_shop, "member_labels").where(F.col("as_of_date") <= "2024-08-03")
    counted = {row[0]: row[1] for row in labels.groupBy("first_category").count().collect()}
    most = sorted(CATEGORIES, key=lambda name: (-counted[name], name))[:2]
    (run_dir,) = (own_shop / "runs").glob("train-*")
    assert json.loads((run_dir / "encoder.json").read_text())["next_categories"] == most
    assert json.loads((run_dir / "refit" / "model.json").read_text())["next_categories"] == 2
    _check_examples(spark, own_shop, most)
    test = json.loads((own_shop / "metrics.json").read_text())["test"]
    assert {name for name, values in test.items() if set(values) >= METRICS} == {"model", "persistence", "majority"}
    assert test["model"]["category_hit_3"] == 1.0  # two categories and all others
    (version,) = [path.name for path in (own_shop / "registry").iterdir() if path.is_dir()]
    assert json.loads(load_bundle(own_shop / "registry", version).text("encoder.json"))["next_categories"] == most
    assert run_job("promote", [*given, version]) == 0
    assert run_job("score", given) == 0
    _check_scores(spark, own_shop, version, most)
    capsys.readouterr()
    member = table(spark, own_shop, "current_scores").first()
    assert member is not None and run_job("explain", [*given, member["member_id"]]) == 0
    assert f"first order of  {member['next_categories'][0]['category']} " in capsys.readouterr().out


def test_experiments_compare_networks_that_tell_it_with_one_that_does_not_and_with_tastes(
    spark: SparkSession, own_shop: Path, small_shop: Path
):
    assert run_job("experiments", arguments(small_shop, own_shop.parent, (*TELLING, *EXPERIMENTS))) == 0
    record = json.loads((own_shop / "experiments.json").read_text())
    telling = {row["forecaster"] for row in record["results"] if "category_hit_1" in row}
    assert telling == {"model", "calibrated", "persistence", "majority"}
    assert {row["forecaster"] for row in record["results"]} > {*telling, "silent", "boosted_tree"}
    assert all("category_log_loss" in row for row in record["learning_curve"] if row["forecaster"] == "model")
    assert "| category_hit_1 | category_hit_3 | category_log_loss |" in (own_shop / "experiments.md").read_text()


def _check_examples(spark: SparkSession, shop: Path, most: list[str]) -> None:
    key = ["member_id", "as_of_date"]
    labels = table(spark, shop, "member_labels").select(*key, "first_category", "bought")
    rows = (
        table(spark, shop, "examples").join(labels, key).select("next_category", "first_category", "bought").collect()
    )
    expected = {most[0]: 0, most[1]: 1, None: -1}
    assert [row["next_category"] for row in rows] == [[expected.get(row["first_category"], 2)] for row in rows]
    assert {row["bought"] for row in rows if row["next_category"] != [-1]} == {True}


def _check_scores(spark: SparkSession, shop: Path, version: str, most: list[str]) -> None:
    """All three classes are there, so that they add up to the chance of an order; older rows have none."""
    ledger = table(spark, shop, "member_scores")
    assert ledger.columns == MEMBER_SCORES.schema.names
    own = ledger.where(F.col("model_version") == version)
    assert own.count() == 2 * NUM_MEMBERS and ledger.count() == 4 * NUM_MEMBERS
    assert ledger.where(F.col("model_version") != version).where(F.col("next_categories").isNotNull()).isEmpty()
    assert (
        ledger.groupBy("model_version")
        .agg(F.count("features_hash").alias("hashes"))
        .where((F.col("model_version") == version) == (F.col("hashes") == 0))
        .isEmpty()
    )
    for row in own.collect():
        told = row["next_categories"]
        assert {one["category"] for one in told} == {*most, "(other)"}
        assert sum(one["p"] for one in told) == pytest.approx(row["p_buy"], abs=1e-12)
        assert [one["p"] for one in told] == sorted((one["p"] for one in told), reverse=True)
    assert table(spark, shop, "current_scores").count() == NUM_MEMBERS


def test_examples_that_do_not_tell_the_category_asked_for_are_refused(
    own_shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    assert run_job("examples", arguments(small_shop, own_shop.parent, ())) == 0
    assert run_job("train", arguments(small_shop, own_shop.parent, TELLING)) == 2
    assert "the examples were made for other next categories: they know 0" in capsys.readouterr().err
