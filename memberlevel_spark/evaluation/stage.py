"""The stage evaluate: the trained model and its baselines on the out-of-time test date."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.evaluation.baselines import (
    boosted_tree_probabilities,
    majority_probabilities,
    persistence_probabilities,
)
from memberlevel_spark.evaluation.calibration import reliability
from memberlevel_spark.evaluation.metrics import confusion_matrix, level_metrics
from memberlevel_spark.evaluation.reach import Reach, reachable_gain
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.predictor import PackedModel
from memberlevel_spark.training.stage import run_dir, trained_examples_version, trained_files

EVALUATION = "evaluation.json"
SUMMARY = ("test_as_of", "num_members", "test", "reach")
TRUTH = "truth_levels"


def run_evaluate(run: Run) -> StageResult:
    """Write ``evaluation.json`` into the run folder and ``metrics.json`` beside the report.

    In a synthetic shop both also hold ``reach``: how far each forecast gets towards the truth.
    """
    version = trained_examples_version(run)
    examples = run.tables.read("examples", version)
    model = PackedModel.of(trained_files(run))
    test = examples.where(F.col("split") == "test")
    predicted = apply_model(test, model, method=run.config.scoring.method, extra=("target_level", "row_key"))
    target, level_now, p_model = _collect(predicted)
    if target.size == 0:
        raise ArtefactError(
            f"no members to test on: as-of {run.config.timeline.test}. Check timeline.test and the labels."
        )
    forecasts = {"model": p_model, **_baselines(run, examples, level_now)}
    metrics = {name: level_metrics(target, level_now, p_level) for name, p_level in forecasts.items()}
    evaluation = {
        "test_as_of": str(run.config.timeline.test),
        "num_members": int(target.size),
        "test": metrics,
        "confusion": confusion_matrix(target, p_model.argmax(axis=1), p_model.shape[1]).tolist(),
        "reliability": reliability(target, p_model, level_now_N=level_now),
    }
    read = {"examples": version}
    if run.tables.exists(TRUTH):
        read[TRUTH] = run.tables.version(TRUTH)
        truth = run.tables.read(TRUTH, read[TRUTH]).where(F.col("as_of_date") == F.lit(run.config.timeline.test))
        beside = test.join(truth.select("member_id", "p_level"), "member_id", "left")
        evaluation["reach"] = reach_of_known(beside, target, forecasts)
    _write(run_dir(run) / EVALUATION, evaluation)
    _write(run.shop_dir / "metrics.json", {key: evaluation[key] for key in SUMMARY if key in evaluation})
    note = ", ".join(f"{name} {values['accuracy']:.3f}" for name, values in metrics.items())
    return StageResult(RowCounts(test.count(), int(target.size)), read, {}, f"accuracy {note}")


def load_evaluation(run: Run) -> dict[str, Any]:
    """The evaluation of this configuration's model. Errors: ArtefactError when it has not been evaluated."""
    path = run_dir(run) / EVALUATION
    if not path.is_file():
        raise ArtefactError(f"this configuration has not been evaluated: {path} is missing. Run the stage evaluate.")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _collect(predicted: DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target, level now and probabilities in the order of row_key, so that sums do not depend on partitions."""
    rows = predicted.orderBy("row_key").select("target_level", "level_now", "p_level").toPandas()
    p_level = np.stack(rows["p_level"].to_list()) if len(rows) else np.empty((0, 0))
    return rows["target_level"].to_numpy(), rows["level_now"].to_numpy(), p_level


def _baselines(run: Run, examples: DataFrame, level_now: np.ndarray) -> dict[str, np.ndarray]:
    """Majority and persistence from training counts, and a boosted tree on the very same encoded features."""
    train, num_levels = examples.where(F.col("split") == "train"), len(run.config.levels.programme)
    pairs = {(row[0], row[1]): row[2] for row in train.groupBy("level_now", "target_level").count().collect()}
    total = sum(pairs.values())
    targets = np.array([sum(n for (_, target), n in pairs.items() if target == k) for k in range(num_levels)])
    stay_share = sum(n for (now, target), n in pairs.items() if now == target) / total
    train_x, train_y = _matrix(_sample(train, total, run.config.evaluation.boosted_tree_rows))
    test_x, _ = _matrix(examples.where(F.col("split") == "test"))
    tree = boosted_tree_probabilities(train_x, train_y, test_x, num_levels=num_levels, seed=run.config.seed)
    return {
        "boosted_tree": tree,
        "persistence": persistence_probabilities(level_now, stay_share, num_levels),
        "majority": majority_probabilities(targets, level_now.size),
    }


def reach_of_known(test: DataFrame, target: np.ndarray, forecasts: dict[str, np.ndarray]) -> Reach:
    """The reach over the members whose truth is known: a null ``p_level`` is left out; empty when none is known."""
    truth = test.orderBy("row_key").select("p_level").toPandas()["p_level"]
    known = truth.notna().to_numpy()
    if not known.any():
        return {}
    p_truth = np.stack(truth[known].to_list())
    return reachable_gain(target[known], {name: p[known] for name, p in forecasts.items()}, p_truth)


def _sample(train: DataFrame, total: int, limit: int) -> DataFrame:
    """At most about ``limit`` rows, the same ones every time: the tree is fitted on the driver."""
    every = -(-total // limit)
    return train.where(F.pmod("row_key", F.lit(every)) == 0) if every > 1 else train


def _matrix(examples: DataFrame) -> tuple[np.ndarray, np.ndarray]:
    # By date first: the tree holds out its last rows for early stopping, and those have to be later, not random.
    rows = examples.orderBy("as_of_date", "row_key").select("features", "target_level").toPandas()
    return np.stack(rows["features"].to_list()).astype(np.float32), rows["target_level"].to_numpy()


def _write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, allow_nan=False), encoding="utf-8")
