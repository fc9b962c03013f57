"""Training: two processes of one thread next to one of two, what the loader takes of a step, what a start costs.

The default network on 200,000 made examples of 161 features, as many as Complete Journey has.
"""

import logging
import re
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from pyspark.sql import SparkSession

from memberlevel_spark.config.training import TrainingConfig
from memberlevel_spark.feed.loader import START, FeedLoader
from memberlevel_spark.feed.plan import plan_feed, read_row_groups
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.training import launch, loop, ranks
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from memberlevel_spark.training.learner import Learner

ROWS, FEATURES, LEVELS, FILES, EPOCHS = 200_000, 161, 4, 8, 6
BASE = Path("conf") / "base.yaml"


def measure(spark: SparkSession, folder: Path) -> dict[str, tuple[float, str, str]]:
    """Rows per second of both ways, the loader's share, and seconds from the launch to the first step."""
    plain = _job(folder)
    two_threads = _rows_per_second(_with(plain, folder / "1x2", how="inline", num_processes=1), threads=2)
    one_thread = _rows_per_second(_with(plain, folder / "1x1", how="inline", num_processes=1), threads=1)
    pair = _with(plain, folder / "2x1", how="torchrun", num_processes=2)
    two_processes = _rows_per_second(pair, threads=1)
    started = time.monotonic()
    first = _Epochs(started)
    with first:
        run_training(_with(plain, folder / "spark", how="spark", num_processes=2, max_epochs=1), spark=spark)
    return {
        "ddp_2x1_vs_1x2": (
            two_processes / two_threads,
            "x rows/s",
            f"1 process of 2 threads, {two_threads:,.0f} rows/s",
        ),
        "ddp_2x1_vs_1x1": (two_processes / one_thread, "x rows/s", f"1 process of 1 thread, {one_thread:,.0f}/s"),
        "loader_share_of_step": (_loader_share(plain), "of time", "the whole step of the default network, one thread"),
        "torch_distributor_start": (first.until_first_step, "s", "2 ranks on Spark: call to first step"),
    }


def _job(folder: Path) -> TrainingJob:
    base = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    training = TrainingConfig.model_validate({**base["training"], "max_epochs": EPOCHS, "patience_epochs": EPOCHS})
    network = base["model"]
    sizes, head = (tuple(network["hidden"]), network["dropout"]), network["level_head"]
    kind = {"level_head": head, "metrics": ("spend_cents",), "periodic": network["periodic"]}
    spec = ModelSpec(network["name"], FEATURES, LEVELS, *sizes, **kind)
    files = tuple(str(_write(folder / f"part-{number}.parquet", number)) for number in range(FILES))
    return TrainingJob(str(folder), files, files[:1], spec, training, seed=1)


def _write(path: Path, seed: int) -> Path:
    random, rows = np.random.default_rng(seed), ROWS // FILES
    features = random.normal(size=(rows, FEATURES)).astype(np.float32)
    features[:, 1 - LEVELS :] = np.sort(random.integers(0, 100_000, (rows, LEVELS - 1)))  # needs, in cents
    orders = random.poisson(2, rows)
    outcomes = np.stack([orders, orders * 2_500], axis=1).astype(np.float32)
    columns = {
        "features": _lists(features),
        "outcomes": _lists(outcomes),
        "level_now": pa.array(random.integers(0, LEVELS, rows).astype(np.int32)),
        "target_level": pa.array(random.integers(0, LEVELS, rows).astype(np.int32)),
        "row_key": pa.array(np.arange(rows, dtype=np.int64) + seed * rows),
        "as_of_day": pa.array(np.zeros(rows, dtype=np.int32)),
    }
    pq.write_table(pa.table(columns), path)
    return path


def _lists(values: np.ndarray) -> pa.Array:
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * values.shape[1])
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))


def _with(plain: TrainingJob, run_dir: Path, **settings: object) -> TrainingJob:
    training = TrainingConfig.model_validate(plain.training.model_dump() | settings)
    return TrainingJob(str(run_dir), plain.train_files, plain.validation_files, plain.model, training, plain.seed)


class _Epochs(logging.Handler):
    """Collects when each epoch ended, from the lines of the log."""

    def __init__(self, started: float = 0.0) -> None:
        super().__init__(logging.INFO)
        self.ends: list[float] = []
        self._started, self.until_first_step = started, 0.0
        self._loggers = [launch.logger, loop.logger]

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r"epoch \d+ of .* ([\d.]+) s$", record.getMessage()):
            self.ends.append(time.monotonic())
            self.until_first_step = self.until_first_step or self.ends[0] - self._started - float(found[1])

    def __enter__(self) -> "_Epochs":
        for logger in self._loggers:
            logger.addHandler(self)
            logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        for logger in self._loggers:
            logger.removeHandler(self)
            logger.setLevel(logging.NOTSET)


def _rows_per_second(job: TrainingJob, *, threads: int) -> float:
    """Of the fastest epoch, its evaluation included, on so many threads a process."""
    plain = torch.set_num_threads
    # The trainer computes with one thread; for the peer it is given two.
    ranks.torch.set_num_threads = lambda number: plain(threads if number == 1 else number)
    try:
        with _Epochs() as epochs:
            run_training(job)
    finally:
        ranks.torch.set_num_threads = plain
    return ROWS / min(np.diff(epochs.ends))


def _loader_share(job: TrainingJob) -> float:
    """Share of the time that the loop waits for batches, in an epoch after the first."""
    plan = plan_feed(read_row_groups(job.train_files), world_size=1, batch_rows=1024, num_lanes=job.training.lanes)
    one = ranks.Ranks(0, 1, torch.device("cpu"))
    with ranks.one_thread():
        learner = Learner(job, one, plan.lanes_of(0), num_steps=2 * plan.steps_per_epoch)
        batches = FeedLoader(plan, 0, fields=job.fields, seed=1).batches(START)
        waited, started = 0.0, time.perf_counter()
        for step in range(2 * plan.steps_per_epoch):
            if step == plan.steps_per_epoch:
                waited, started = 0.0, time.perf_counter()
            before = time.perf_counter()
            _, batch = next(batches)
            waited += time.perf_counter() - before
            learner.learn(batch, number=step, rows=job.training.batch_rows, last=True)
        return waited / (time.perf_counter() - started)
