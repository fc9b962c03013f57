"""The stage evaluate: the trained model and its rivals on the out-of-time test date."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config import Config
from memberlevel_spark.errors import ArtefactError, DataQualityError
from memberlevel_spark.evaluation.category_rivals import with_category_rivals
from memberlevel_spark.evaluation.champion import incumbent
from memberlevel_spark.evaluation.evidence import evidence
from memberlevel_spark.evaluation.fairness_stage import fairness_of, group_dimensions
from memberlevel_spark.evaluation.forecasts import Actuals, Forecast
from memberlevel_spark.evaluation.order_histories import build_order_histories, history_forecast
from memberlevel_spark.evaluation.reach import Reach, reachable_gain
from memberlevel_spark.evaluation.record import evaluation_record
from memberlevel_spark.evaluation.rivals import TREE, Rows, rival_forecasts, rows_of
from memberlevel_spark.evaluation.run_rate import RunRate
from memberlevel_spark.evaluation.score_profile import score_profile
from memberlevel_spark.evaluation.slice_dimensions import build_slice_columns, dimensions_of
from memberlevel_spark.evaluation.slices import Dimension
from memberlevel_spark.evaluation.spark_trees import SparkTrees, spark_trees_probabilities
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.labels import KEY
from memberlevel_spark.features.vocabulary_stage import profile_of
from memberlevel_spark.ingest.money import shop_digits
from memberlevel_spark.registry.bundle import version_of
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.predictor import P_CATEGORY, PackedModel
from memberlevel_spark.training.stage import learned_splits, run_dir, trained_examples_version, trained_files

EVALUATION = "evaluation.json"
SUMMARY = ("test_as_of", "num_members", "test", "reach")
TRUTH = "truth_levels"
log = logging.getLogger("memberlevel_spark")


def run_evaluate(run: Run) -> StageResult:
    """Write ``evaluation.json`` into the run folder and ``metrics.json`` beside the report.

    In a synthetic shop both also hold ``reach``: how far each forecast gets towards the truth.
    """
    version, config = trained_examples_version(run), run.config
    read = {"examples": version, **{name: run.tables.version(name) for name in ("member_days", "member_features")}}
    test = run.tables.read("examples", version).where(F.col("split") == "test")
    predicted = _predicted(run, test)
    # Errors of money are read in whole units of the currency.
    unit = 10.0 ** shop_digits(config.money)
    target_N, now_N = (predicted[name].to_numpy() for name in ("target_level", "level_now"))
    category_N = predicted["next_category"].to_numpy() if P_CATEGORY in predicted else None
    outcomes_N2 = np.stack(predicted["outcomes"].to_list())
    actuals = Actuals.of(target_N, now_N, outcomes_N2, unit=unit, category_N=category_N)
    protected, member_N = config.evaluation.protected, predicted["member_id"].to_list()
    groups = group_dimensions(run, read, test, attributes=protected, member_N=member_N)
    rivals = _rivals(run, read, test, predicted["member_id"].to_numpy(str))
    present = incumbent(run, test, own_version(run))
    said = {"model": Forecast.of_rows_applied(predicted), **rivals, **(present.said if present else {})}
    forecasts = {name: forecast.in_units(unit) for name, forecast in said.items()}
    p_level = {name: said.p_level_NK for name, said in forecasts.items() if said.p_level_NK is not None}
    evaluation = {
        "test_as_of": str(config.timeline.test),
        **evaluation_record(
            actuals,
            forecasts,
            _with_groups(_dimensions(run, read, test), groups),
            min_slice_members=config.evaluation.min_slice_members,
        ),
        "fairness": fairness_of(run, read, actuals, p_level, groups=groups),
        **evidence(
            actuals,
            predicted["member_id"].to_numpy(str),
            p_level,
            num_resamples=config.evaluation.num_resamples,
            seed=config.seed,
        ),
        "champion": present.plain() if present else None,
        "score_profile": asdict(score_profile(said["model"], now_N)),
    }
    if run.tables.exists(TRUTH):
        read[TRUTH] = run.tables.version(TRUTH)
        evaluation["reach"] = reach_of_known(_beside_truth(run, read, test), target_N, p_level)
    _write(run_dir(run) / EVALUATION, evaluation)
    _write(run.shop_dir / "metrics.json", {key: evaluation[key] for key in SUMMARY if key in evaluation})
    told = {name: values["accuracy"] for name, values in evaluation["test"].items() if "accuracy" in values}
    note = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in told.items())
    return StageResult(RowCounts(test.count(), len(target_N)), read, {}, f"accuracy {note}")


def require_members(number: int, test: date) -> None:
    """Refuse a test date on which there is nobody. Errors: ArtefactError."""
    if not number:
        raise ArtefactError(f"no members to test on: as-of {test}. Check timeline.test and the labels.")


def load_evaluation(run: Run) -> dict[str, Any]:
    """The evaluation of this configuration's model.

    Errors: ArtefactError when it has not been evaluated, or by a version that asked less.
    """
    path = run_dir(run) / EVALUATION
    evaluation = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    lacks = [part for part in ("comparisons", "score_profile") if part not in evaluation]
    if lacks:
        lacking = f"lacks {' and '.join(lacks)}" if evaluation else "is missing"
        raise ArtefactError(f"this configuration has not been evaluated: {path} {lacking}. Run the stage evaluate.")
    return dict(evaluation)


def reach_of_known(test: DataFrame, target: np.ndarray, forecasts: dict[str, np.ndarray]) -> Reach:
    """The reach over the members whose truth is known: a null ``p_level`` is left out; empty when none is known."""
    truth = test.orderBy("row_key").select("p_level").toPandas()["p_level"]
    known = truth.notna().to_numpy()
    if not known.any():
        return {}
    p_truth = np.stack(truth[known].to_list())
    return reachable_gain(target[known], {name: p[known] for name, p in forecasts.items()}, p_truth)


def histories_forecast(
    member_days: DataFrame, as_of: date, member_N: np.ndarray, run_rate: RunRate
) -> dict[str, Forecast]:
    """BG/NBD and Gamma-Gamma by name; nothing, with a word in the log, where there is too little history."""
    # In one order, so that sums do not depend on partitions.
    histories = build_order_histories(member_days, as_of).orderBy("member_id").toArrow()
    try:
        return {"bg_nbd": history_forecast(histories, member_N, horizon_days=run_rate.horizon_days)}
    except DataQualityError as problem:
        log.warning("evaluate: %s", problem)
        return {}


def own_version(run: Run) -> str:
    """The version that this configuration's trained model has as a bundle. Errors: ArtefactError when there is none."""
    return version_of({**trained_files(run), "levels.json": run.config.levels.model_dump_json().encode()})


def _predicted(run: Run, test: DataFrame) -> pd.DataFrame:
    """The model's numbers beside what happened; in the order of row_key, so that sums do not depend on partitions."""
    model = PackedModel.of(trained_files(run))
    extra: tuple[str, ...] = ("target_level", "row_key", "outcomes")
    if model.spec.next_categories:
        test, extra = test.withColumn("next_category", F.col("next_category")[0]), (*extra, "next_category")
    applied = apply_model(test, model, method=run.config.scoring.method, extra=extra)
    predicted = applied.drop("as_of_date").orderBy("row_key").toPandas()
    require_members(len(predicted), run.config.timeline.test)
    return predicted


def _rivals(run: Run, read: dict[str, int], test: DataFrame, member_N: np.ndarray) -> dict[str, Forecast]:
    """They learn from the dates that the model has learned from; ``read`` gets what is read for them alone."""
    config = run.config
    examples = run.tables.read("examples", read["examples"])
    train = examples.where(F.col("split").isin(list(learned_splits(run))))
    files = trained_files(run)
    encoder = Encoder.from_json(files["encoder.json"].decode("utf-8"))
    run_rate = RunRate.of(config, encoder)
    num_rows = train.count()
    sample = _sample(train, num_rows, config.evaluation.boosted_tree_rows)
    rivals = rival_forecasts(_rows(sample), _rows(test), run_rate, seed=config.seed)
    if PackedModel.of(files).spec.next_categories:
        day, told = config.timeline.test, encoder.next_categories
        rivals, more = with_category_rivals(run, rivals, train, test=day, member_N=member_N, categories=told)
        read |= more
    on_spark = _spark_trees(config, encoder, train, test, num_rows=num_rows)
    member_days = run.tables.read("member_days", read["member_days"])
    histories = histories_forecast(member_days, config.timeline.test, member_N, run_rate)
    # The two kinds of trees stand side by side.
    return {TREE: rivals[TREE]} | on_spark | rivals | histories


def _spark_trees(
    config: Config, encoder: Encoder, train: DataFrame, test: DataFrame, *, num_rows: int
) -> dict[str, Forecast]:
    """The trees that learn from all training rows, where they are asked for; from the inputs of the boosted tree."""
    settings = config.evaluation
    is_beyond_driver = settings.spark_trees == "beyond_driver" and num_rows > settings.boosted_tree_rows
    if not (settings.spark_trees == "always" or is_beyond_driver):
        return {}
    trees = SparkTrees(settings.spark_trees_rounds, settings.spark_trees_depth, config.seed)
    num_inputs = len(encoder.names)
    p_level_NK = spark_trees_probabilities(train, test, trees, num_inputs=num_inputs, num_levels=encoder.num_levels)
    return {"spark_trees": Forecast(p_level_NK)}


def _dimensions(run: Run, read: Mapping[str, int], test: DataFrame) -> tuple[Dimension, ...]:
    profile = [feature for feature in profile_of(run) if feature.kind == "category"]
    features, member_days = (run.tables.read(name, read[name]) for name in ("member_features", "member_days"))
    members = test.select(*KEY, "row_key", "level_now")
    dates = (run.config.timeline.test,)
    rows = build_slice_columns(members, features, member_days, dates=dates, profile=profile).orderBy("row_key")
    return dimensions_of(rows.drop(*KEY).toPandas(), [level.name for level in run.config.levels.programme], profile)


def _with_groups(dimensions: Sequence[Dimension], groups: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Protected groups are parts of the members as well, which the gate looks at; once, where the model reads them."""
    known = {dimension.name for dimension in dimensions}
    return (*dimensions, *(group for group in groups if group.name not in known))


def _beside_truth(run: Run, read: Mapping[str, int], test: DataFrame) -> DataFrame:
    truth = run.tables.read(TRUTH, read[TRUTH]).where(F.col("as_of_date") == F.lit(run.config.timeline.test))
    return test.join(truth.select("member_id", "p_level"), "member_id", "left")


def _sample(train: DataFrame, total: int, limit: int) -> DataFrame:
    """At most about ``limit`` rows, the same ones every time: the rivals are fitted on the driver."""
    every = -(-total // limit)
    return train.where(F.pmod("row_key", F.lit(every)) == 0) if every > 1 else train


def _rows(examples: DataFrame) -> Rows:
    rows = examples.orderBy("as_of_date", "row_key").select("features", "level_now", "target_level").toArrow()
    return rows_of(rows)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, allow_nan=False), encoding="utf-8")
