"""A model that reads normal scores of quantiles, on the small shop: from the examples to the advice."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.cli import run_job
from memberlevel_spark.examples import stage as examples_stage
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.quantiles import SHARES
from tests.small_shop import NUM_MEMBERS

pytestmark = pytest.mark.e2e

SETTINGS = ("examples.numbers=quantile", "training.max_epochs=6")
COLUMN = "spend_cents_sum_91d"


@pytest.fixture(scope="module")
def own_shop(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop's tables up to the labels, and nothing that was trained."""
    own = tmp_path_factory.mktemp("quantiles") / shop.name
    shutil.copytree(shop / "tables", own / "tables")
    shutil.copytree(shop / "runs" / "features", own / "runs" / "features")
    return own


def arguments(config: Path, out: Path, settings: Sequence[str]) -> list[str]:
    return ["--config", str(config), *(part for each in (f"output_dir={out}", *settings) for part in ("--set", each))]


def table(spark: SparkSession, shop: Path, name: str) -> DataFrame:
    return spark.read.format("delta").load(str(shop / "tables" / name))


def knots_of(shop: Path) -> tuple[float, ...]:
    record = json.loads((shop / "runs" / "examples" / "encoder.json").read_text())
    encoder = Encoder.from_json(record["encoder"])
    return encoder.quantiles[encoder.names.index(COLUMN)]


def test_a_model_of_quantiles_is_trained_judged_scores_and_advises(
    spark: SparkSession, own_shop: Path, small_shop: Path
):
    given = arguments(small_shop, own_shop.parent, SETTINGS)
    for job in ("examples", "train", "evaluate", "register"):
        assert run_job(job, given) == 0, job
    features = table(spark, own_shop, "member_features")
    train = features.where("as_of_date between '2024-05-04' and '2024-08-03'").toPandas()[COLUMN]
    assert knots_of(own_shop) == pytest.approx(np.percentile(train, SHARES * 100).tolist(), rel=1e-12)
    test = json.loads((own_shop / "metrics.json").read_text())["test"]
    assert test["model"]["log_loss"] < test["majority"]["log_loss"]
    # The run-rate is read from the encoded features: it is what the tables say.
    day = "as_of_date = '2024-09-28'"
    known = F.least(F.col("tenure_days") + 1, F.lit(91))
    rate = features.where(day).select("member_id", (F.col("num_orders_sum_91d") / known * 28).alias("ahead"))
    labels = table(spark, own_shop, "member_labels").where(day)
    row = labels.join(rate, "member_id").agg(F.avg(F.abs(F.col("num_orders") - F.col("ahead")))).first()
    assert row is not None and test["run_rate"]["orders_mae"] == pytest.approx(row[0], rel=0.02)
    if (own_shop / "registry" / "champion.json").is_file():
        for job in ("score", "advise", "monitor"):
            assert run_job(job, given) == 0, job
        champion = json.loads((own_shop / "registry" / "champion.json").read_text())["model_version"]
        advice = table(spark, own_shop, "member_advice").where(F.col("model_version") == champion)
        assert advice.select("member_id").distinct().count() == NUM_MEMBERS
        assert advice.where("goal = 'rise' and needed > 0 and (extra is null or extra > needed)").isEmpty()


def test_of_many_rows_some_are_asked_the_same_ones_every_time(
    spark: SparkSession, own_shop: Path, small_shop: Path, monkeypatch: pytest.MonkeyPatch
):
    given = arguments(small_shop, own_shop.parent, SETTINGS)
    assert run_job("examples", given) == 0
    whole = knots_of(own_shop)
    monkeypatch.setattr(examples_stage, "QUANTILE_ROWS", 1000)
    assert run_job("examples", given) == 0
    some = knots_of(own_shop)
    assert run_job("examples", given) == 0
    assert some == knots_of(own_shop) != whole
    assert some[16] == pytest.approx(whole[16], rel=0.2)
