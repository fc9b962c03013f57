"""Reasons beside those of another method: topics that matter to the network matter to boosted trees, by SHAP."""

from pathlib import Path

import lightgbm
import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scipy.stats import spearmanr

from memberlevel_spark.config import load_config
from memberlevel_spark.evaluation.baselines import NUM_ROUNDS
from memberlevel_spark.evaluation.baselines import TREE as SETTINGS
from memberlevel_spark.evaluation.rivals import Rows, rows_of
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.features.stage import features_of
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.run import Shop
from memberlevel_spark.scoring.topics import topics

pytestmark = pytest.mark.e2e


def rows(spark: SparkSession, shop: Path, *splits: str) -> Rows:
    examples = spark.read.format("delta").load(str(shop / "tables" / "examples"))
    of_splits = examples.where(F.col("split").isin(list(splits))).orderBy("row_key")
    return rows_of(of_splits.select("features", "level_now", "target_level").toArrow())


def weight_of_topics(told: tuple[str, ...], train: Rows, test: Rows) -> dict[str, float]:
    """The mean size of each topic's SHAP values over the test rows and the levels, in log-odds."""
    num_levels = int(train.target_N.max()) + 1
    settings = {**SETTINGS, "num_class": num_levels, "min_data_in_leaf": 20, "seed": 1}
    inputs = slice(0, len(told))
    data = lightgbm.Dataset(train.features_NE[:, inputs], train.target_N, params=settings)
    model = lightgbm.train(settings, data, num_boost_round=NUM_ROUNDS)
    shap_NKE = model.predict(test.features_NE[:, inputs], pred_contrib=True).reshape(len(test.target_N), num_levels, -1)
    places = {topic: [place for place, name in enumerate(told) if name == topic] for topic in told}
    return {topic: float(np.abs(shap_NKE[:, :, at].sum(axis=2)).mean()) for topic, at in places.items()}


def test_topics_that_weigh_for_the_network_weigh_for_boosted_trees(
    spark: SparkSession, shop: Path, small_shop: Path
) -> None:
    served = Shop(load_config(small_shop, [f"output_dir={shop.parent}"], {}))
    encoder = Encoder.from_json(load_champion(served).text("encoder.json"))
    told = topics(encoder, features_of(served))[: encoder.num_scaled]
    # The trees read what the network's topics are told of, without the needs, which a topic takes in too.
    trees = weight_of_topics(told, rows(spark, shop, "train", "late", "validation"), rows(spark, shop, "test"))
    reasons = spark.read.format("delta").load(str(shop / "tables" / "member_reasons"))
    effects = {
        row["topic"]: row["size"]
        for row in reasons.where("as_of_date = '2024-09-28'")
        .select(F.explode(F.concat("reasons_up", "reasons_down")).alias("reason"))
        .groupBy("reason.topic")
        .agg(F.sum(F.abs("reason.effect")).alias("size"))
        .collect()
    }
    found = spearmanr([trees[topic] for topic in trees], [effects.get(topic, 0.0) for topic in trees]).statistic
    assert max(trees, key=trees.__getitem__) == max(effects, key=effects.__getitem__)
    assert found > 0.2  # README says what was found
