"""The stage train: the examples of one pinned version, through Petastorm, into a run folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config import Config, training_fingerprint
from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.profile import PROFILE
from memberlevel_spark.examples.stage import load_encoder, load_profile
from memberlevel_spark.examples.typical import TYPICAL, TypicalMembers, build_sums
from memberlevel_spark.feed.fields import NEXT_CATEGORY, ListOf, group_column
from memberlevel_spark.models.calibrators import CALIBRATORS, Calibrators
from memberlevel_spark.models.spec import EVENTS, Components, ModelSpec
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.predictor import NUMBERS, PackedModel
from memberlevel_spark.training.calibration import fit_calibrators
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training

RUN_RECORD = "run.json"
SPLITS = ("train", "late", "validation")
NETWORK = ("model.safetensors", "model.json")
ENCODER = "encoder.json"
PRETRAINING = "pretraining"
# More rows change no calibrator by anything that matters, and they are collected on the driver.
CALIBRATION_ROWS = 200_000


def run_dir(run: Run) -> Path:
    """The folder of this configuration's training run; the same when only the days to score have moved on."""
    return run.shop_dir / "runs" / f"train-{training_fingerprint(run.config)}"


def run_train(run: Run) -> StageResult:
    """Fit the network and leave weights, curves, calibrators, encoder and typical members in the run folder.

    What the validation date decides, the number of epochs and the calibrators, is decided first; then the network that
    is kept learns from all dates whose labels are known by the test date, in the folder ``refit``. A finished run is
    replaced; one that was ended before goes on where it was.
    """
    version = run.tables.version("examples")
    encoder = load_encoder(run, version)
    folder = run_dir(run).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    files = {split: run.tables.live_files("examples", version, f"split={split}") for split in SPLITS}
    job = training_job(run.config, folder, encoder, train_files=files["train"], validation_files=files["validation"])
    if run.config.model.pretraining is not None:
        job = started_from(job, run.config, folder / PRETRAINING)
        run_training(pretraining_job(job, run.config), spark=run.tables.spark)
    (folder / CALIBRATORS).unlink(missing_ok=True)
    trained = run_training(job, spark=run.tables.spark)
    calibrators = _calibrators(run, version, folder)
    if run.config.timeline.train.refit:
        learned_files = tuple(path for split in learned_splits(run) for path in files[split])
        run_training(_refit(job, run, learned_files, trained.best.epoch), spark=run.tables.spark)
    (folder / CALIBRATORS).write_text(calibrators.to_json(), encoding="utf-8")
    (folder / ENCODER).write_text(encoder.to_json(), encoding="utf-8")
    (folder / PROFILE).write_text(load_profile(run, version).to_json(), encoding="utf-8")
    (folder / TYPICAL).write_text(_typical_members(run, version, encoder).to_json(), encoding="utf-8")
    (folder / RUN_RECORD).write_text(json.dumps({"examples_version": version}), encoding="utf-8")
    rows = run.tables.read("examples", version).groupBy("split").count().collect()
    counts = {row["split"]: row["count"] for row in rows}
    learned = sum(counts.get(split, 0) for split in learned_splits(run))
    note = (
        f"{run.config.model.name}, {learned:,} rows, {job.world_size} rank(s) {run.config.training.how},"
        f" best epoch {trained.best.epoch}: validation log-loss {trained.best.validation_log_loss:.4f}"
    )
    return StageResult(RowCounts(learned, learned), {"examples": version}, {}, note)


def learned_splits(run: Run) -> tuple[str, ...]:
    """The parts of the examples that the kept network has learned from."""
    return SPLITS if run.config.timeline.train.refit else ("train",)


def _typical_members(run: Run, version: int, encoder: Encoder) -> TypicalMembers:
    """Of the rows that the kept network has learned from."""
    learned = run.tables.read("examples", version).where(F.col("split").isin(list(learned_splits(run))))
    sums = build_sums(learned, num_elements=len(encoder.names)).collect()
    return TypicalMembers.of_sums(sums, encoder.num_levels)


def training_job(
    config: Config, folder: Path, encoder: Encoder, *, train_files: tuple[str, ...], validation_files: tuple[str, ...]
) -> TrainingJob:
    """The job every rank gets: explicit live files of a pinned version and all settings.

    Errors: ConfigError when the next category or components are asked for, and the examples do not have them.
    """
    next_categories, components = _next_categories(config, encoder), _components(config, encoder)
    reweighing = config.training.reweighing
    lists: dict[str, tuple[ListOf, int]] = {NEXT_CATEGORY: ("int32", 1)} if next_categories else {}
    lists |= {} if reweighing is None else {group_column(reweighing): ("int32", 1)}
    return TrainingJob(
        run_dir=str(folder),
        train_files=train_files,
        validation_files=validation_files,
        model=ModelSpec(
            name=config.model.name,
            num_features=encoder.num_features,
            num_levels=encoder.num_levels,
            hidden=config.model.hidden,
            dropout=config.model.dropout,
            periodic=config.model.periodic,
            level_head=config.model.level_head,
            spend_head=config.model.spend_head,
            metrics=encoder.metrics,
            every_metric=config.levels.reach == "all",
            weekly=encoder.num_weekly,
            events=(encoder.events.num_events, *encoder.events.sizes) if encoder.events else (),
            reads=config.model.reads,
            causal=config.model.pretraining == "next",
            next_categories=next_categories,
            components=len(components),
            week_channels=config.model.week_channels,
        ),
        training=config.training,
        seed=config.seed,
        lists=lists,
        components=components,
    )


def _next_categories(config: Config, encoder: Encoder) -> int:
    """How many are told: as many as the examples know, which may be fewer than asked for."""
    asked, known = config.model.next_categories, len(encoder.next_categories)
    if asked and not 0 < known <= asked:
        raise ConfigError(
            f"the examples were made for other next categories: they know {known}, model.next_categories is {asked}."
            " Run the stage examples again."
        )
    return known if asked else 0


def _components(config: Config, encoder: Encoder) -> Components:
    """Those that are read: as many as are asked for, or all that there are of fewer."""
    asked = config.model.components
    if asked and not encoder.components:
        raise ConfigError(
            f"the examples were made without principal components, and model.components is {asked}. Run the stage"
            " examples again."
        )
    return encoder.components[:asked]


def started_from(job: TrainingJob, config: Config, folder: Path) -> TrainingJob:
    """The job, going on from what is pretrained in a folder."""
    return replace(job, start_from=str(folder.absolute()), frozen=config.model.frozen)


def pretraining_job(job: TrainingJob, config: Config) -> TrainingJob:
    """What trains the encoder of events that a job goes on from, on the same dates; their labels are not looked at.

    Errors: ConfigError when the network reads no events.
    """
    assert job.start_from is not None and config.model.pretraining is not None
    if EVENTS not in job.model.inputs:
        raise ConfigError(
            f"pretraining sets an encoder of events, and the model reads none: {config.model.name} reads"
            f" {', '.join(job.model.inputs)}. Add events to model.reads, or set model.pretraining to null."
        )
    return replace(
        job,
        run_dir=job.start_from,
        training=job.training.model_copy(update={"max_epochs": job.training.pretraining_epochs}),
        task=config.model.pretraining,
        start_from=None,
        frozen=False,
    )


def _refit(job: TrainingJob, run: Run, train_files: tuple[str, ...], num_epochs: int) -> TrainingJob:
    """The same job for as many epochs as were best, on all dates; it learns from its validation rows too."""
    return replace(
        job,
        run_dir=str(kept_dir(run).absolute()),
        train_files=train_files,
        training=job.training.model_copy(update={"max_epochs": num_epochs}),
        keep="last",
    )


def _calibrators(run: Run, version: int, folder: Path) -> Calibrators:
    """Fitted to what the network that has not learned from the validation date says of it."""
    heads = run.config.model.calibration
    if not heads:
        return Calibrators()
    model = PackedModel.of({name: (folder / name).read_bytes() for name in NETWORK})
    rows = validation_forecast(run.tables.read("examples", version), model, method=run.config.scoring.method)
    forecast_NP = np.concatenate([np.stack(rows["p_level"].to_list()), rows[list(NUMBERS)].to_numpy()], axis=1)
    outcomes_N2 = np.stack(rows["outcomes"].to_list())
    return fit_calibrators(forecast_NP, rows["target_level"].to_numpy(), outcomes_N2=outcomes_N2, heads=heads)


def validation_forecast(examples: DataFrame, model: PackedModel, *, method: str) -> pd.DataFrame:
    """What a model says of the validation rows of ``examples``, and what happened; of no other rows."""
    validation = examples.where(F.col("split") == "validation")
    every = -(-validation.count() // CALIBRATION_ROWS)
    some = validation.where(F.pmod("row_key", F.lit(every)) == 0) if every > 1 else validation
    extra = ("target_level", "outcomes", "row_key")
    # In one order, so that sums do not depend on partitions.
    return apply_model(some, model, method=method, extra=extra).drop("as_of_date").orderBy("row_key").toPandas()


def kept_dir(run: Run) -> Path:
    """Where the network lies that is kept."""
    return run_dir(run) / "refit" if run.config.timeline.train.refit else run_dir(run)


def pretrained_files(run: Run) -> dict[str, bytes]:
    """Weights and network of the pretraining of this configuration, and the encoder of its examples.

    Errors: ArtefactError when there is none.
    """
    folder = run_dir(run)
    paths = {name: folder / PRETRAINING / name for name in NETWORK} | {ENCODER: folder / ENCODER}
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if missing:
        raise ArtefactError(
            f"this configuration has no pretrained encoder of events: {missing[0]} is missing. Set model.pretraining"
            " and run the stage train with the same --config and --set."
        )
    return {name: path.read_bytes() for name, path in paths.items()}


def trained_files(run: Run) -> dict[str, bytes]:
    """Weights, network, calibrators, encoder, profile of the training rows and typical members of the run folder.

    Errors: ArtefactError when this configuration was not trained.
    """
    paths = {name: kept_dir(run) / name for name in NETWORK}
    paths |= {name: run_dir(run) / name for name in (CALIBRATORS, ENCODER, PROFILE, TYPICAL, RUN_RECORD)}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise ArtefactError(
            f"this configuration has not been trained: {run_dir(run)} lacks {', '.join(missing)}. Run the stage train"
            " with the same --config and --set."
        )
    return {name: path.read_bytes() for name, path in paths.items() if name != RUN_RECORD}


def trained_examples_version(run: Run) -> int:
    """The version of ``examples`` the run folder was trained on."""
    trained_files(run)
    return int(json.loads((run_dir(run) / RUN_RECORD).read_text(encoding="utf-8"))["examples_version"])
