"""What reasons and advice cost, next to the scores of the same members."""

import json

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from safetensors.torch import save

from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.scoring.advice import Adviser, build_advice
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.predictor import PackedModel
from memberlevel_spark.scoring.reasons import Reasoner, build_reasons
from tests.bench.timing import best_seconds

ROWS, INPUTS, LEVELS, STEPS = 20_000, 60, 4, 16


def measure(spark: SparkSession) -> dict[str, tuple[float, str, str]]:
    """Rows per second of each on 20 k members, and how many scores the same time would give."""
    encoder = Encoder(
        tuple(Input(f"spend_cents_sum_{days}d") for days in range(1, INPUTS + 1)),
        LEVELS,
        (8.0,) * INPUTS,
        (2.0,) * INPUTS,
        tuple(Need("spend_cents", level) for level in range(1, LEVELS)),
    )
    spec = ModelSpec(
        "mlp", encoder.num_features, LEVELS, level_head="gate", metrics=("spend_cents",), periodic=4, hidden=(128, 128)
    )
    model = PackedModel(save(build_network(spec).state_dict()), json.dumps(spec.to_dict()))
    rows = _members(spark, encoder).persist()
    rows.count()
    typical = np.zeros((LEVELS, encoder.num_features), dtype=np.float32)
    reasoner = Reasoner(model, typical, ("spend",) * (INPUTS + LEVELS), num_steps=STEPS)
    adviser = Adviser(encoder, likely=0.5, at_once=True, every_metric=True)
    score = best_seconds(lambda: _drain(apply_model(rows, model, method="map_in_arrow")))
    reasons = best_seconds(lambda: _drain(build_reasons(rows, reasoner, "m1")), repeats=1)
    advice = best_seconds(lambda: _drain(build_advice(rows, adviser, model, "m1")), repeats=1)
    rows.unpersist()
    of_scores = f"scores of the same {ROWS:,} members"
    return {
        "reasons_rows_per_second": (ROWS / reasons, "rows/s", f"nothing: {STEPS} points, three chances, local[2]"),
        "reasons_vs_score": (reasons / score, "x seconds", of_scores),
        "advice_rows_per_second": (ROWS / advice, "rows/s", "nothing: one metric, two goals, local[2]"),
        "advice_vs_score": (advice / score, "x seconds", of_scores),
    }


def _members(spark: SparkSession, encoder: Encoder) -> DataFrame:
    level = F.pmod(F.col("id"), F.lit(LEVELS)).cast("int")
    encoded = F.transform(F.sequence(F.lit(1), F.lit(INPUTS)), lambda i: (F.hash("id", i) / 2**31).cast("float"))
    held = F.array(*[(level == k).cast("float") for k in range(LEVELS)])
    needs = [F.when(level >= k, 0).otherwise(F.pmod(F.hash("id"), F.lit(20_000)) * k) for k in range(1, LEVELS)]
    return spark.range(ROWS, numPartitions=4).select(
        F.col("id").cast("string").alias("member_id"),
        F.lit("2024-01-01").cast("date").alias("as_of_date"),
        level.alias("level_now"),
        F.concat(encoded, held, F.array(*[need.cast("float") for need in needs])).alias("features"),
    )


def _drain(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()
