"""Where the trials run: processes on this machine, or Spark tasks. Each takes what comes next in the study.

In: a plan and the number of trials. Out: nothing but the study in its journal.
"""

import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from memberlevel_spark import errors
from memberlevel_spark.errors import ArtefactError, MemberLevelError
from memberlevel_spark.training.stopping import end_with_parent
from memberlevel_spark.training.tuning.trial import TrialPlan, described, run_trial

log = logging.getLogger("memberlevel_spark")
TOLD = "trial int, error string, message string"


def run_locally(plan: TrialPlan, num_trials: int, *, processes: int) -> None:
    """Run trials side by side in processes of their own, each on one thread.

    Errors: those of ``run_trial``; ArtefactError when a process was killed.
    """
    # Not forked: a process with a JVM beside it and threads in it cannot be copied.
    context = multiprocessing.get_context("spawn")
    study = plan.open()
    try:
        with ProcessPoolExecutor(min(processes, num_trials), mp_context=context, initializer=_begin) as pool:
            numbers = pool.map(run_trial, [plan] * num_trials)
            for number in tqdm(numbers, total=num_trials, desc="tuning", unit="trial", disable=not sys.stderr.isatty()):
                if number is not None:
                    log.info("tuning: %s", described(study.trials[number], plan.space))
    except BrokenProcessPool:
        raise ArtefactError(
            f"a process that ran a trial was killed: one of {processes}. Look for a kill for memory, and start again:"
            " the tuning goes on, and the trial is made again."
        ) from None


def run_on_spark(plan: TrialPlan, num_trials: int, *, spark: Any) -> None:
    """Run each trial as a task; Spark runs as many at once as it has slots, and shows how far it has come.

    Errors: those of ``run_trial``, once all trials have ended.
    """
    trials = spark.range(0, num_trials, 1, num_trials)
    told = trials.mapInArrow(_trial_mapper(plan), TOLD).collect()
    for row in told:
        if row["error"] is not None:
            raise getattr(errors, row["error"])(row["message"])


def _begin() -> None:
    """What each process does first: it says only what is wrong, and ends when the one that started it does."""
    end_with_parent()
    logging.getLogger("memberlevel_spark").setLevel(logging.WARNING)


def _trial_mapper(plan: TrialPlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for _ in range(batch.num_rows):
                yield _told(plan)

    return run


def _told(plan: TrialPlan) -> pa.RecordBatch:
    """Run a trial, and put an error into the answer: Spark would run a task that fails again, with other settings."""
    number, error, message = None, None, None
    try:
        number = run_trial(plan)
    except MemberLevelError as problem:
        error, message = type(problem).__name__, str(problem)
    arrays = [pa.array([number], pa.int32()), pa.array([error], pa.string()), pa.array([message], pa.string())]
    return pa.RecordBatch.from_arrays(arrays, ["trial", "error", "message"])
