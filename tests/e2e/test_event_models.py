"""A model that reads members' events, pretrained on them, on the small shop: from the examples to the scores."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.cli import run_job
from tests.small_shop import NUM_MEMBERS

pytestmark = pytest.mark.e2e

SETTINGS = (
    "model.name=fusion",
    "model.pretraining=masked",
    "training.max_epochs=3",
    "training.pretraining_epochs=2",
)


@pytest.fixture(scope="module")
def own_shop(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop's tables up to the labels, and nothing that was trained."""
    own = tmp_path_factory.mktemp("events") / shop.name
    shutil.copytree(shop / "tables", own / "tables")
    shutil.copytree(shop / "runs" / "features", own / "runs" / "features")
    return own


def arguments(config: Path, out: Path, settings: Sequence[str]) -> list[str]:
    return ["--config", str(config), *(part for each in (f"output_dir={out}", *settings) for part in ("--set", each))]


def table(spark: SparkSession, shop: Path, name: str) -> DataFrame:
    return spark.read.format("delta").load(str(shop / "tables" / name))


def test_a_pretrained_fusion_is_trained_registered_and_scores_everybody(
    spark: SparkSession, own_shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    given = arguments(small_shop, own_shop.parent, SETTINGS)
    for job in ("examples", "train", "evaluate", "register"):
        assert run_job(job, given) == 0, job
    (run_dir,) = (own_shop / "runs").glob("train-*")
    spec = json.loads((run_dir / "refit" / "model.json").read_text())
    length = table(spark, own_shop, "examples").select(F.size("features")).first()
    assert length is not None and (spec["name"], spec["events"][0], spec["num_features"]) == ("fusion", 8, length[0])
    assert len(json.loads((run_dir / "pretraining" / "curves.json").read_text())) == 2
    test = json.loads((own_shop / "metrics.json").read_text())["test"]
    assert set(test) >= {"model", "boosted_tree", "logistic", "run_rate", "persistence"}
    if (own_shop / "registry" / "champion.json").is_file():
        assert run_job("score", given) == 0
        scores = table(spark, own_shop, "member_scores")
        champion = json.loads((own_shop / "registry" / "champion.json").read_text())["model_version"]
        own = scores.where(F.col("model_version") == champion)
        assert own.count() == 2 * own.select("member_id").distinct().count() == 2 * NUM_MEMBERS
    assert run_job("embeddings", given) == 0
    before = vectors(spark, own_shop)
    known = table(spark, own_shop, "member_features").where(F.col("as_of_date").isin(["2024-09-28", "2024-10-26"]))
    assert len(before) == known.count()
    assert {len(vector) for vector in before.values()} == {96}
    assert run_job("embeddings", given) == 0
    assert vectors(spark, own_shop) == before


def vectors(spark: SparkSession, shop: Path) -> dict[tuple[object, object], list[float]]:
    rows = table(spark, shop, "member_embeddings").collect()
    found = {(row["member_id"], row["as_of_date"]): row["embedding"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_what_is_asked_of_events_and_is_not_there_is_said(
    own_shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    out = own_shop.parent
    plain = arguments(small_shop, out, ("training.max_epochs=1",))
    assert run_job("embeddings", plain) == 4
    assert "this configuration has no pretrained encoder of events" in capsys.readouterr().err
    assert run_job("examples", arguments(small_shop, out, ("model.name=fusion", "features.sequence_events=0"))) == 2
    assert "the model reads events, and there are none: features.sequence_events is 0" in capsys.readouterr().err
    assert run_job("examples", plain) == 0
    assert run_job("train", arguments(small_shop, out, ("model.pretraining=next", "training.max_epochs=1"))) == 2
    assert "pretraining sets an encoder of events, and the model reads none" in capsys.readouterr().err
