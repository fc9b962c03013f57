"""The stage train: the examples of one pinned version, through Petastorm, into a run folder."""

import json
from pathlib import Path

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.stage import load_encoder
from memberlevel_spark.models.networks import ModelSpec
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training

RUN_RECORD = "run.json"
BUNDLED = ("model.safetensors", "model.json", "encoder.json")


def run_dir(run: Run) -> Path:
    """The folder of this configuration's training run."""
    return run.shop_dir / "runs" / f"train-{run.fingerprint}"


def run_train(run: Run) -> StageResult:
    """Fit the network and leave weights, curves and encoder in the run folder.

    A finished run there is replaced; one that was ended before goes on where it was.
    """
    version = run.tables.version("examples")
    encoder = load_encoder(run, version)
    folder = run_dir(run).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    job = training_job(run, folder, version, len(encoder.names))
    run_training(job, spark=run.tables.spark)
    (folder / "encoder.json").write_text(encoder.to_json(), encoding="utf-8")
    (folder / RUN_RECORD).write_text(json.dumps({"examples_version": version}), encoding="utf-8")
    rows = run.tables.read("examples", version).groupBy("split").count().collect()
    counts = {row["split"]: row["count"] for row in rows}
    best = min(json.loads((folder / "curves.json").read_text("utf-8")), key=lambda epoch: epoch["validation_log_loss"])
    note = (
        f"{run.config.model.name}, {counts['train']:,} rows, {job.world_size} rank(s) {run.config.training.how},"
        f" best epoch {best['epoch']}: validation log-loss {best['validation_log_loss']:.4f}"
    )
    return StageResult(RowCounts(counts["train"], counts["train"]), {"examples": version}, {}, note)


def training_job(run: Run, folder: Path, version: int, num_features: int) -> TrainingJob:
    """The job every rank gets: explicit live files of the pinned version and all settings."""
    config = run.config
    return TrainingJob(
        run_dir=str(folder),
        train_files=run.tables.live_files("examples", version, "split=train"),
        validation_files=run.tables.live_files("examples", version, "split=validation"),
        model=ModelSpec(
            name=config.model.name,
            num_features=num_features,
            num_levels=len(config.levels.programme),
            hidden=config.model.hidden,
            dropout=config.model.dropout,
        ),
        training=config.training,
        seed=config.seed,
    )


def trained_files(run: Run) -> dict[str, bytes]:
    """Weights, network and encoder of the run folder. Errors: ArtefactError when this configuration was not trained."""
    folder = run_dir(run)
    missing = [name for name in (*BUNDLED, RUN_RECORD) if not (folder / name).is_file()]
    if missing:
        raise ArtefactError(
            f"this configuration has not been trained: {folder} lacks {', '.join(missing)}. Run the stage train with"
            " the same --config and --set."
        )
    return {name: (folder / name).read_bytes() for name in BUNDLED}


def trained_examples_version(run: Run) -> int:
    """The version of ``examples`` the run folder was trained on."""
    trained_files(run)
    return int(json.loads((run_dir(run) / RUN_RECORD).read_text(encoding="utf-8"))["examples_version"])
