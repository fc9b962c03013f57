"""Starts a training run in this process, or in several, starts it again when a rank is lost, and checks what it left.

In: a job. Out: the run folder, written by rank 0, and what it says. Several processes are one Spark barrier job, or
torchrun's on this machine. Unlike other rooms this one uses `sparkContext`: a barrier job needs to know how many tasks
can run at once, and its processes need to find this package.
"""

import contextlib
import io
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.feed.contract import check_contract
from memberlevel_spark.feed.plan import plan_feed, read_row_groups
from memberlevel_spark.training import checkpoint
from memberlevel_spark.training.artefacts import TrainedRun, read_run, remove_artefacts, write_artefacts
from memberlevel_spark.training.course import Fit
from memberlevel_spark.training.entry import RankEntry, with_package_path
from memberlevel_spark.training.failures import RankLostError, clear_failures, explain
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.loop import train
from memberlevel_spark.training.rank import LINE_MARK
from memberlevel_spark.training.ranks import join_ranks, one_thread
from memberlevel_spark.training.stopping import end_with_parent, exit_on_sigterm, noted_sigterm
from memberlevel_spark.training.tracking import Listener
from memberlevel_spark.training.weights import row_weights

logger = logging.getLogger(__name__)

# torchrun gives the ranks half a minute to end before it kills them.
_SECONDS_TO_SAVE = 45


def run_training(job: TrainingJob, *, spark: Any = None) -> TrainedRun:
    """Check the input, train, and read the artefacts back.

    A run that was ended before it was finished goes on from its last undamaged checkpoint; one whose rank is killed or
    hangs is started again from there, ``max_restarts`` times.

    Args:
        job: the run.
        spark: the session, for training on spark.

    Raises:
        ConfigError: the job cannot run this way, Spark has too few slots, or the teacher is of other data.
        DataQualityError: the examples are not what training needs, or the loss is not a finite number.
        ArtefactError: files could not be read, a process died too often, or the run left nothing usable.
        SystemExit: with code 143, after SIGTERM; a checkpoint was saved.
    """
    _check_way(job, spark)
    _check_teacher(job)
    check_input(job)
    job = with_weights(job)
    run_dir = Path(job.run_dir)
    remove_artefacts(run_dir)
    _run_until_done(job, spark)
    run = read_run(run_dir)
    if run.model != job.model:
        raise ArtefactError(
            f"{run_dir} holds another network: {run.model}, not {job.model}. Give each run its own folder."
        )
    checkpoint.remove_all(run_dir)
    return run


def with_weights(job: TrainingJob) -> TrainingJob:
    """The job with what its rows count; in a task of members' own events, of whose outcomes nothing is known, all count
    the same. Errors: ArtefactError when a file cannot be read."""
    if job.task != "outcomes":
        return job
    return replace(job, weights=row_weights(job.train_files, job.training, num_levels=job.model.num_levels))


def _run_until_done(job: TrainingJob, spark: Any) -> None:
    for restart in range(job.training.max_restarts + 1):
        clear_failures(Path(job.run_dir))
        try:
            return _run_once(job, spark)
        except RankLostError as lost:
            if restart == job.training.max_restarts:
                raise ArtefactError(
                    f"{lost} Started {restart + 1} time(s), as often as training.max_restarts allows; the checkpoints"
                    " are kept, and the same training goes on from them."
                ) from None
            logger.warning("%s Starting again (%d of %d).", lost, restart + 1, job.training.max_restarts)


def _run_once(job: TrainingJob, spark: Any) -> None:
    if job.training.how == "inline":
        _run_inline(job)
    elif job.training.how == "torchrun":
        _run_with_torchrun(job)
    else:
        _run_on_spark(job, spark)


def _check_way(job: TrainingJob, spark: Any) -> None:
    if job.training.how != "spark":
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


def _check_teacher(job: TrainingJob) -> None:
    if job.teacher_dir is None:
        return
    if Path(job.teacher_dir).resolve() == Path(job.run_dir).resolve():
        raise ConfigError(f"a network cannot learn from itself: {job.run_dir}. Give each run its own folder.")
    teacher = read_run(Path(job.teacher_dir)).model
    sizes = [(model.num_features, model.num_levels) for model in (teacher, job.model)]
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"the teacher reads other features or knows other levels: {sizes[0]} in {job.teacher_dir}, {sizes[1]} here."
            " Give one that was trained on the same examples."
        )


def check_input(job: TrainingJob) -> None:
    """Errors: those of a job's files, before anything is read or written."""
    sizes = {"batch_rows": job.training.batch_rows, "num_lanes": job.training.lanes}
    for paths, tail in ((job.train_files, job.training.tail), (job.validation_files, "pad")):
        groups = read_row_groups(paths)
        plan_feed(groups, world_size=job.world_size, **sizes, tail=tail)
        check_contract(groups, fields=job.fields, num_levels=job.model.num_levels)


def _run_inline(job: TrainingJob) -> None:
    write_artefacts(Path(job.run_dir), job.model, fit_inline(job))


def fit_inline(job: TrainingJob, tell: Listener | None = None) -> Fit:
    """Fit the job's network in this process, on one thread; no artefacts are written. Errors: those of ``train``."""
    # The caller's random state is left as it was found.
    with one_thread(), torch.random.fork_rng(), noted_sigterm() as stop, join_ranks(job, 0) as ranks:
        return train(job, ranks, stop, tell=tell)


def _run_with_torchrun(job: TrainingJob) -> None:
    output = _RankOutput()
    environment = {**os.environ, "PYTHONPATH": with_package_path(os.environ.get("PYTHONPATH", ""))}
    if "lo" in {name for _, name in socket.if_nameindex()}:
        # All ranks are on this machine; the way over the network card takes longer and is open to others.
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder, exit_on_sigterm():
        job_file = Path(folder) / "job.json"
        job_file.write_text(job.to_json(), encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={job.world_size}", "-m", "memberlevel_spark.training.rank", str(job_file)]
        torchrun = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=end_with_parent,
        )
        reading = threading.Thread(target=output.copy, args=(torchrun.stderr,), daemon=True)
        reading.start()
        try:
            exit_code = torchrun.wait()
        finally:
            _end(torchrun)
        reading.join()
    if exit_code:
        raise explain(job, "\n".join(output.tail))


def _end(torchrun: "subprocess.Popen[str]") -> None:
    """Let torchrun pass SIGTERM on to the ranks, which save a checkpoint, and wait for it."""
    if torchrun.poll() is None:
        torchrun.terminate()
        try:
            torchrun.wait(timeout=_SECONDS_TO_SAVE)
        except subprocess.TimeoutExpired:
            torchrun.kill()


def _run_on_spark(job: TrainingJob, spark: Any) -> None:
    from pyspark.ml.torch.distributor import TorchDistributor

    distributor = TorchDistributor(
        num_processes=job.world_size, local_mode=False, use_gpu=job.training.backend == "nccl"
    )
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

    def copy(self, stream: Any) -> None:
        """Take every line of a stream until it ends."""
        for line in stream:
            self.write(line)

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
