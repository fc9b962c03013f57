"""The job compress: the trained model made smaller in several ways, each measured beside the model as it is.

In: the run folder and the examples it was trained on. Out: each network's files in ``compressed/<name>`` of the run
folder; ``compression.json``, ``.md`` and ``.png`` beside the report. Times are those of the machine it runs on.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.compression_page import Measured, compression_page, compression_plot
from memberlevel_spark.evaluation.forecasts import Actuals, Forecast, judge
from memberlevel_spark.evaluation.inputs import FloatArray
from memberlevel_spark.evaluation.stage import require_members
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.ingest.money import shop_digits
from memberlevel_spark.models.int8 import quantised
from memberlevel_spark.models.pruning import pruned, share_of_zeros
from memberlevel_spark.models.speed import forward_seconds, median_seconds
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.scoring.apply import feature_matrix
from memberlevel_spark.scoring.predictor import BLOCK_ROWS, PackedModel, load_network, predict
from memberlevel_spark.training.artefacts import SPEC, WEIGHTS, read_run
from memberlevel_spark.training.launch import run_training
from memberlevel_spark.training.ranks import one_thread
from memberlevel_spark.training.stage import (
    ENCODER,
    NETWORK,
    SPLITS,
    kept_dir,
    learned_splits,
    run_dir,
    trained_examples_version,
    trained_files,
    training_job,
)

MODEL, DISTILLED, ALONE = "model", "student_distilled", "student_alone"
FOLDER = "compressed"
# Rows of the test date are repeated up to so many: enough that one timing takes some hundredths of a second.
TIMED_ROWS = 16 * BLOCK_ROWS
_ZSTANDARD_LEVEL = 19
log = logging.getLogger("memberlevel_spark")


@dataclass(frozen=True)
class Members:
    """The members of the test date: what is read of them, and what happened."""

    features_NE: NDArray[np.float32]
    actuals: Actuals
    unit: float  # minor units in a whole one


def run_compress(run: Run) -> StageResult:
    """Make the smaller networks, measure them, write the table."""
    version, settings = trained_examples_version(run), run.config.compression
    members = _test_members(run, version)
    model = PackedModel.of(trained_files(run))
    students = _students(run, version)
    models = {
        MODEL: model,
        f"{MODEL}_int8": in_int8(model),
        **{f"{MODEL}_pruned_{share:g}": pruned_model(model, share) for share in settings.pruned_shares},
        **students,
        f"{DISTILLED}_int8": in_int8(students[DISTILLED]),
    }
    _keep(run_dir(run) / FOLDER, models)
    with one_thread():
        measured = measure(models, members, num_timings=settings.num_timings)
    record = {"examples_version": version, "num_members": len(members.features_NE), "timed_rows": TIMED_ROWS}
    rows = [asdict(each) for each in measured]
    (run.shop_dir / "compression.json").write_text(json.dumps({**record, "networks": rows}, indent=1), encoding="utf-8")
    (run.shop_dir / "compression.png").write_bytes(compression_plot(measured))
    page = run.shop_dir / "compression.md"
    page.write_text(compression_page(measured, test_as_of=run.config.timeline.test), encoding="utf-8")
    return StageResult(RowCounts(0, 0), {"examples": version}, {}, f"{len(models)} networks, table in {page}")


def in_int8(model: PackedModel) -> PackedModel:
    """The same with 8-bit weights."""
    return PackedModel.holding(quantised(load_network(model)), replace(model.spec, int8=True))


def pruned_model(model: PackedModel, share: float) -> PackedModel:
    """The same with ``share`` of its weights 0."""
    return PackedModel.holding(pruned(load_network(model), share), model.spec)


def measure(models: Mapping[str, PackedModel], members: Members, *, num_timings: int) -> list[Measured]:
    """Measure each model on the test date, beside the first, on as many threads as this process uses."""
    forecasts = {
        name: Forecast.of_array(predict(model, members.features_NE), model.spec.num_levels)
        for name, model in models.items()
    }
    whole_NK = _levels(next(iter(forecasts.values())))
    measured = []
    for name, model in models.items():
        p_level_NK = _levels(forecasts[name])
        of_network, of_score = _rows_per_second(model, members.features_NE, num_timings)
        measured.append(
            Measured(
                name=name,
                num_bytes=len(model.weights),
                num_bytes_zstd=len(
                    pa.Codec("zstd", compression_level=_ZSTANDARD_LEVEL).compress(model.weights, asbytes=True)
                ),
                share_of_zeros=share_of_zeros(load_network(model)),
                network_rows_per_second=of_network,
                scored_rows_per_second=of_score,
                same_level_share=float((p_level_NK.argmax(axis=1) == whole_NK.argmax(axis=1)).mean()),
                mean_gap=float(np.abs(p_level_NK - whole_NK).mean()),
                metrics=judge(members.actuals, forecasts[name].in_units(members.unit)),
            )
        )
        log.info("compress: %s, %d bytes, %.0f rows/s", name, len(model.weights), of_network)
    return measured


def _levels(forecast: Forecast) -> FloatArray:
    assert forecast.p_level_NK is not None
    return forecast.p_level_NK


def _rows_per_second(model: PackedModel, features_NE: NDArray[np.float32], num_timings: int) -> tuple[float, float]:
    """Of the network alone, and of the whole forecast."""
    timed_NE = np.resize(features_NE, (TIMED_ROWS, features_NE.shape[1]))
    forward = forward_seconds(load_network(model), timed_NE, block_rows=BLOCK_ROWS, num_timings=num_timings)
    score = median_seconds(lambda: predict(model, timed_NE), num_timings)
    return TIMED_ROWS / forward, TIMED_ROWS / score


def _test_members(run: Run, version: int) -> Members:
    """In the order of row_key, so that sums do not depend on partitions."""
    examples = run.tables.read("examples", version).where(F.col("split") == "test")
    rows = examples.orderBy("row_key").select("features", "level_now", "target_level", "outcomes").toArrow()
    require_members(rows.num_rows, run.config.timeline.test)
    unit = 10.0 ** shop_digits(run.config.money)
    target_N, now_N = (rows.column(name).to_numpy() for name in ("target_level", "level_now"))
    features_NE, outcomes_N2 = (feature_matrix(rows.column(name).combine_chunks()) for name in ("features", "outcomes"))
    return Members(features_NE, Actuals.of(target_N, now_N, outcomes_N2, unit=unit), unit)


def _students(run: Run, version: int) -> dict[str, PackedModel]:
    """Small networks that learn from the model's rows for as many epochs: one from the model too, and one without."""
    settings, folder = run.config.compression, run_dir(run).absolute()
    small = run.config.model.model_copy(update={"name": "mlp", "hidden": settings.student_hidden, "periodic": 0})
    files = {split: run.tables.live_files("examples", version, f"split={split}") for split in SPLITS}
    job = training_job(
        run.config.model_copy(update={"model": small}),
        folder,
        Encoder.from_json(trained_files(run)[ENCODER].decode("utf-8")),
        train_files=tuple(path for split in learned_splits(run) for path in files[split]),
        validation_files=files["validation"],
    )
    epochs = read_run(folder).best.epoch
    job = replace(job, training=job.training.model_copy(update={"max_epochs": epochs}), keep="last")
    teachers = {DISTILLED: str(kept_dir(run).absolute()), ALONE: None}
    for name, teacher_dir in teachers.items():
        student = replace(job, run_dir=str(folder / FOLDER / name), teacher_dir=teacher_dir)
        run_training(student, spark=run.tables.spark)
    return {name: _packed(folder / FOLDER / name) for name in teachers}


def _packed(folder: Path) -> PackedModel:
    return PackedModel.of({name: (folder / name).read_bytes() for name in NETWORK})


def _keep(folder: Path, models: Mapping[str, PackedModel]) -> None:
    """Leave the files of these networks and no others: earlier ones may have been made with other settings."""
    for left in folder.iterdir():
        if left.name not in models:
            shutil.rmtree(left)
    for name, model in models.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / SPEC).write_text(model.spec_json, encoding="utf-8")
        (folder / name / WEIGHTS).write_bytes(model.weights)
