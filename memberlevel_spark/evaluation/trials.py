"""Trainings side by side: each trial in a process of its own, on one core, its forecast of a test date back.

In: training jobs and the encoded rows of the date they forecast. Out: one model and its forecast per trial, in their
order.
"""

import logging
import multiprocessing
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from memberlevel_spark.scoring.predictor import PackedModel, predict
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training


@dataclass(frozen=True)
class Trial:
    """One training, and the file of features [N, E] (.npy) that are forecast with what it gives."""

    job: TrainingJob
    features_file: Path


def run_trials(trials: Sequence[Trial], num_processes: int) -> Iterator[tuple[PackedModel, np.ndarray]]:
    """Yield the model of each trial and its forecasts [N, K + numbers], in the order of ``trials``.

    Errors: those of ``run_training``.
    """
    plain = [(trial.job.to_json(), str(trial.features_file)) for trial in trials]
    with _pool(num_processes) as pool:
        finished = pool.map(_forecast, plain)
        yield from tqdm(finished, total=len(plain), desc="training", unit="fit", disable=not sys.stderr.isatty())


def run_jobs(jobs: Sequence[TrainingJob], num_processes: int) -> None:
    """Run trainings side by side, and leave what they give in their run folders. Errors: those of ``run_training``."""
    if jobs:
        with _pool(num_processes) as pool:
            list(pool.map(_train, [job.to_json() for job in jobs]))


def _pool(num_processes: int) -> ProcessPoolExecutor:
    # Not forked: a process with a JVM beside it and threads in it cannot be copied.
    return ProcessPoolExecutor(num_processes, mp_context=multiprocessing.get_context("spawn"))


def _train(job_json: str) -> Path:
    logging.getLogger("memberlevel_spark").setLevel(logging.WARNING)
    job = TrainingJob.from_json(job_json)
    run_dir = Path(job.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    run_training(job)
    return run_dir


def _forecast(trial: tuple[str, str]) -> tuple[PackedModel, np.ndarray]:
    job_json, features_file = trial
    run_dir = _train(job_json)
    files = {name: (run_dir / name).read_bytes() for name in ("model.safetensors", "model.json")}
    shutil.rmtree(run_dir)
    model = PackedModel.of(files)
    return model, predict(model, np.load(features_file))
