"""The training loop, in the order it happens; every rank runs it, and only sums cross between ranks.

In: a job and this process's place among the ranks. Out: the best epoch's weights, and one point per epoch. A run that
was ended goes on from its last checkpoint as if nothing had happened.
"""

import logging
import math
import sys
import time
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Never

from tqdm import tqdm

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.feed.loader import FeedLoader
from memberlevel_spark.feed.plan import FeedPlan, Tail, plan_feed, read_row_groups
from memberlevel_spark.feed.readers import ReaderSettings
from memberlevel_spark.training import checkpoint
from memberlevel_spark.training.checkpoint import Checkpoint
from memberlevel_spark.training.course import Course, EpochPoint, Fit
from memberlevel_spark.training.device import on_device
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.learner import Learner
from memberlevel_spark.training.ranks import Ranks
from memberlevel_spark.training.stopping import EXIT_CODE, Stop
from memberlevel_spark.training.tracking import Listener, Tracker, open_tracker

logger = logging.getLogger(__name__)

# Asking all ranks whether one was told to stop costs a message; a machine is not taken away within a few steps.
_ASK_EVERY_STEPS = 8


def train(job: TrainingJob, ranks: Ranks, stop: Stop | None = None, *, tell: Listener | None = None) -> Fit:
    """Fit the job's network; rank 0 ``tell``s each point as it is made.

    Raises:
        DataQualityError: the loss is not a finite number.
        ArtefactError: the examples cannot be read, or not completely, or a checkpoint cannot be written.
        ConfigError: the files cannot be shared out among the ranks.
        SystemExit: with code 143, when ``stop`` was asked for; a checkpoint was saved.
    """
    stop, training = stop or Stop(), job.training
    feed = _open_feed(job, job.train_files, ranks, seed=job.seed, tail=training.tail)
    validation = _open_feed(job, job.validation_files, ranks, seed=None, tail="pad")
    plan = feed.plan
    num_steps = training.max_epochs * math.ceil(plan.steps_per_epoch / training.accumulate_batches)
    learner = Learner(job, ranks, plan.lanes_of(ranks.rank), num_steps=num_steps)
    course = _resumed(job, ranks, learner)
    started, saved_step = time.monotonic(), learner.step
    with (
        closing(on_device(feed.batches(course.position), ranks.device)) as batches,
        _progress_bar(num_steps, learner.step, ranks) as bar,
        _tracker(job, ranks, tell) as tracker,
    ):
        while True:
            # Evaluate.
            between_epochs = course.position.step == plan.steps_per_epoch
            if between_epochs and len(course.points) == course.position.epoch:
                course.add(_evaluated(course, learner, plan, validation, ranks), learner.kept_weights())
                tracker.add(course.points[-1])
                _report(course.points[-1], job, seconds=time.monotonic() - started, ranks=ranks)
                started = time.monotonic()
            # Save.
            asked = learner.step % _ASK_EVERY_STEPS == 0 and ranks.any(stop.asked)
            every = training.checkpoint_every_steps
            if learner.step > saved_step and (between_epochs or asked or (every and learner.step % every == 0)):
                _save(job, course, learner, ranks)
                saved_step = learner.step
            # Stop?
            if asked:
                raise SystemExit(EXIT_CODE)
            done = learner.step == num_steps or course.has_stopped_improving(training.patience_epochs)
            if between_epochs and ranks.agree(done):
                break
            # Step.
            for number in _batches_of_step(course, plan, training.accumulate_batches):
                course.position, batch = next(batches)
                course.loss_sum += learner.learn(
                    batch,
                    number=course.position.epoch * plan.steps_per_epoch + number,
                    rows=_rows_of_step(plan, number, training.accumulate_batches),
                    last=_is_last(number, plan, training.accumulate_batches),
                )
            bar.update()
    return Fit(course.best, tuple(course.points), course.kept)


def _batches_of_step(course: Course, plan: FeedPlan, accumulate: int) -> range:
    """Numbers, in their epoch, of the batches whose gradients make the next step; none crosses the epoch's end."""
    first = course.position.step % plan.steps_per_epoch
    return range(first, min(first + accumulate, plan.steps_per_epoch))


def _rows_of_step(plan: FeedPlan, number: int, accumulate: int) -> int:
    """Rows of weight 1, on all ranks, in the batches that make one step together with batch ``number``."""
    first = number // accumulate * accumulate
    return sum(plan.global_rows_at_step(step) for step in range(first, min(first + accumulate, plan.steps_per_epoch)))


def _is_last(number: int, plan: FeedPlan, accumulate: int) -> bool:
    return (number + 1) % accumulate == 0 or number + 1 == plan.steps_per_epoch


def _evaluated(course: Course, learner: Learner, plan: FeedPlan, validation: FeedLoader, ranks: Ranks) -> EpochPoint:
    """Close an epoch: sums over the rows of all ranks first, one division at the end."""
    loss_sum = correct = 0.0
    for _, batch in on_device(((None, batch) for batch in validation.epoch(0)), ranks.device):
        loss, right = learner.score(batch)
        loss_sum, correct = loss_sum + loss, correct + right
    loss_sum, correct, train_loss_sum = ranks.total(loss_sum, correct, course.loss_sum)
    if not math.isfinite(loss_sum):
        raise DataQualityError(
            f"validation log-loss is not a finite number: {loss_sum}. "
            "Check the validation features; if they are sound, lower training.learning_rate."
        )
    return EpochPoint(
        epoch=len(course.points) + 1,
        step=learner.step,
        train_log_loss=train_loss_sum / plan.rows_per_epoch,
        validation_log_loss=loss_sum / validation.plan.num_rows,
        validation_accuracy=correct / validation.plan.num_rows,
        learning_rate=learner.learning_rate,
        rows=plan.rows_per_epoch,
    )


def _save(job: TrainingJob, course: Course, learner: Learner, ranks: Ranks) -> None:
    """Rank 0 writes what all ranks share, and each rank's sum of losses."""
    loss_sums = ranks.each(course.loss_sum)
    if ranks.rank == 0:
        tensors = learner.state() | {f"best.{name}": value for name, value in course.best.items()}
        state = {**course.to_plain(), "loss_sums": loss_sums, "fingerprint": job.fingerprint}
        checkpoint.save(Path(job.run_dir), learner.step, Checkpoint(tensors, state))


def _resumed(job: TrainingJob, ranks: Ranks, learner: Learner) -> Course:
    """The course of an earlier process of this job, with the learner as it was then; else the start of one."""
    found = checkpoint.load_last(Path(job.run_dir), job.fingerprint)
    if found is None:
        return Course(job.keep == "last")
    learner.restore(found.tensors)
    best = {name.removeprefix("best."): found.tensors[name] for name in found.tensors if name.startswith("best.")}
    sums = found.state["loss_sums"]
    # On another number of ranks the sum of all goes to the first.
    own = sums[ranks.rank] if len(sums) == ranks.world_size else (sum(sums) if ranks.rank == 0 else 0.0)
    course = Course.from_plain(found.state, best, own, keep_last=job.keep == "last")
    if ranks.rank == 0:
        logger.info(
            "going on from the checkpoint of step %d, epoch %d",
            learner.step,
            min(len(course.points) + 1, job.training.max_epochs),
        )
    return course


def _open_feed(job: TrainingJob, paths: tuple[str, ...], ranks: Ranks, *, seed: int | None, tail: Tail) -> FeedLoader:
    training = job.training
    plan = plan_feed(
        read_row_groups(paths),
        world_size=ranks.world_size,
        batch_rows=training.batch_rows,
        num_lanes=training.lanes,
        tail=tail,
    )
    reader = ReaderSettings(training.reader, training.row_groups_ahead, training.timeout_seconds)
    return FeedLoader(plan, ranks.rank, fields=job.fields, seed=seed, reader=reader)


def _tracker(job: TrainingJob, ranks: Ranks, tell: Listener | None) -> AbstractContextManager[Tracker]:
    return open_tracker(job, tell) if ranks.rank == 0 else nullcontext(Tracker([], None))


def _progress_bar(num_steps: int, first: int, ranks: Ranks) -> "tqdm[Never]":
    on_terminal = ranks.rank == 0 and sys.stderr.isatty()
    return tqdm(total=num_steps, initial=first, unit="step", desc="training", disable=not on_terminal)


def _report(point: EpochPoint, job: TrainingJob, *, seconds: float, ranks: Ranks) -> None:
    if ranks.rank == 0:
        logger.info(
            "epoch %d of %d: train log-loss %.4f, validation log-loss %.4f, accuracy %.4f, %d rows, %.1f s",
            point.epoch,
            job.training.max_epochs,
            point.train_log_loss,
            point.validation_log_loss,
            point.validation_accuracy,
            point.rows,
            seconds,
        )
