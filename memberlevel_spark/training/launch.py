"""Starts a training run in this process, or in several processes as one Spark barrier job, and checks what it left.

In: a job. Out: the run folder, written by rank 0, and what it says. Unlike other rooms this one uses `sparkContext`: a
barrier job needs to know how many tasks can run at once, and its processes need to find this package.
"""

import contextlib
import io
import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.feed.contract import check_contract
from memberlevel_spark.feed.plan import plan_feed, read_file_rows
from memberlevel_spark.training.artefacts import TrainedRun, read_run, remove_artefacts, write_artefacts
from memberlevel_spark.training.entry import RankEntry, with_package_path
from memberlevel_spark.training.failures import clear_failures, explain
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.loop import train
from memberlevel_spark.training.rank import LINE_MARK
from memberlevel_spark.training.ranks import join_ranks, one_thread

logger = logging.getLogger(__name__)

HOW = ("inline", "spark")


def run_training(job: TrainingJob, *, how: str, spark: Any = None) -> TrainedRun:
    """Check the input, train, and read the artefacts back.

    Args:
        job: the run.
        how: ``inline`` (this process) or ``spark`` (``job.world_size`` processes on Spark's executors).
        spark: the session, for ``spark``.

    Raises:
        ConfigError: the job cannot run this way, or Spark has too few slots.
        DataQualityError: the examples are not what training needs, or the loss is not a finite number.
        ArtefactError: files could not be read, a process died, or the run left nothing usable.
    """
    _check_way(job, how, spark)
    _check_input(job)
    run_dir = Path(job.run_dir)
    remove_artefacts(run_dir)
    clear_failures(run_dir)
    if how == "inline":
        _run_inline(job)
    else:
        _run_on_spark(job, spark)
    run = read_run(run_dir)
    if run.model != job.model:
        raise ArtefactError(
            f"{run_dir} holds another network: {run.model}, not {job.model}. Give each run its own folder."
        )
    return run


def _check_way(job: TrainingJob, how: str, spark: Any) -> None:
    if how not in HOW:
        raise ConfigError(f"unknown way to train: {how!r}. Use one of {', '.join(HOW)}.")
    if how == "inline":
        if job.world_size != 1:
            raise ConfigError(f"inline training is one process: world_size {job.world_size}. Use 1, or train on spark.")
        return
    if spark is None:
        raise ConfigError("training on spark needs a session: spark is None. Pass one, or train inline.")
    slots = _slots(spark)
    if slots < job.world_size:
        raise ConfigError(
            f"too few Spark slots: {slots} tasks can run at once, {job.world_size} processes must. "
            "Lower training.num_processes or give Spark more cores."
        )


def _slots(spark: Any) -> int:
    """How many tasks can run at once. Spark itself would wait ten minutes before it says that a barrier job cannot."""
    context = spark.sparkContext._jsc.sc()
    # Not defaultParallelism: spark.default.parallelism overrides that without adding a single core.
    return int(context.maxNumConcurrentTasks(context.resourceProfileManager().defaultResourceProfile()))


def _check_input(job: TrainingJob) -> None:
    for paths in (job.train_files, job.validation_files):
        files = read_file_rows(paths)
        plan_feed(files, world_size=job.world_size, batch_rows=job.batch_rows)
        check_contract(files, num_features=job.model.num_features, num_levels=job.model.num_levels)


def _run_inline(job: TrainingJob) -> None:
    # The caller's random state is left as it was found.
    with one_thread(), torch.random.fork_rng(), join_ranks(job, 0) as ranks:
        write_artefacts(Path(job.run_dir), job.model, train(job, ranks))


def _run_on_spark(job: TrainingJob, spark: Any) -> None:
    from pyspark.ml.torch.distributor import TorchDistributor

    distributor = TorchDistributor(num_processes=job.world_size, local_mode=False, use_gpu=job.backend == "nccl")
    distributor.logger.setLevel(logging.WARNING)
    output = _RankOutput()
    failed = None
    # The ranks' output comes back on the driver's stderr.
    with _package_on_workers_path(spark), contextlib.redirect_stderr(output):
        try:
            distributor.run(RankEntry(), job.to_json())
        except Exception as error:  # of many classes, and none says more than that a rank failed
            failed = str(error)
    if failed is not None:
        logger.debug("%s", failed)
        # Outside the handler: the error's text is pages of two languages' stacks, and would be shown as the cause.
        raise explain(job, "\n".join([*output.tail, failed]))


class _RankOutput(io.TextIOBase):
    """A stream for what the ranks print: marked lines become log lines, all else debug lines; the last are kept."""

    def __init__(self) -> None:
        self.tail: deque[str] = deque(maxlen=400)

    def write(self, text: str) -> int:
        for line in filter(None, text.splitlines()):
            self.tail.append(line)
            logger.log(logging.INFO if line.startswith(LINE_MARK) else logging.DEBUG, "%s", line)
        return len(text)


@contextlib.contextmanager
def _package_on_workers_path(spark: Any) -> Iterator[None]:
    """Let Spark's Python workers import the package even when only the driver's own path holds it."""
    environment: dict[str, str] = spark.sparkContext.environment
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = with_package_path(before or "")
    try:
        yield
    finally:
        del environment["PYTHONPATH"]
        if before is not None:
            environment["PYTHONPATH"] = before
