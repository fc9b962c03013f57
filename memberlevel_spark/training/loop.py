"""The training loop, in the order it happens; every rank runs it, and only sums cross between ranks.

In: a job and this process's place among the ranks. Out: the best epoch's averaged weights, and one point per epoch.

Shape legend: B rows of a rank's batch, F features, K levels.
"""

import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Never

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from memberlevel_spark.errors import DataQualityError, first_five
from memberlevel_spark.feed.loader import Batch, FeedLoader
from memberlevel_spark.feed.plan import plan_feed, read_file_rows
from memberlevel_spark.models.losses import correct_sum, cross_entropy_B, cross_entropy_sum
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.ranks import Ranks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochPoint:
    """One point of the curves; losses are means over rows, in nats, over the rows of all ranks."""

    epoch: int  # from 1
    step: int  # steps made since the start
    train_log_loss: float  # of the weights while they were being trained, dropout on
    validation_log_loss: float  # of the averaged weights
    validation_accuracy: float
    learning_rate: float  # of the epoch's last step
    rows: int  # train rows seen in the epoch


@dataclass(frozen=True)
class Fit:
    """What training gives: averaged weights of the epoch with the lowest validation log-loss, and all points."""

    weights: Mapping[str, Tensor]
    points: tuple[EpochPoint, ...]


def train(job: TrainingJob, ranks: Ranks) -> Fit:
    """Fit the job's network.

    Raises:
        DataQualityError: the loss is not a finite number.
        ArtefactError: the examples cannot be read, or not completely.
        ConfigError: the files cannot be shared out among the ranks.
    """
    torch.manual_seed(job.seed)  # the same initial weights on every rank
    train_feed, validation_feed = _open_feed(job, job.train_files, ranks), _open_feed(job, job.validation_files, ranks)
    learner = _Learner(job, ranks, num_steps=job.max_epochs * train_feed.plan.steps_per_epoch)
    torch.manual_seed(job.seed + 1 + ranks.rank)  # other dropout on every rank
    points: list[EpochPoint] = []
    best: dict[str, Tensor] = {}
    with _progress_bar(learner.num_steps, ranks) as bar:
        for epoch in range(job.max_epochs):
            started, loss_sum = time.monotonic(), 0.0
            for step, batch in enumerate(train_feed.epoch(epoch)):
                loss_sum += learner.learn(batch, rows=train_feed.plan.global_rows_at_step(step))
                bar.update()
            points.append(
                EpochPoint(
                    epoch=epoch + 1,
                    step=learner.step,
                    train_log_loss=ranks.total(loss_sum)[0] / train_feed.plan.num_rows,
                    **_validation(learner.averaged, validation_feed, ranks),
                    learning_rate=learner.learning_rate,
                    rows=train_feed.plan.num_rows,
                )
            )
            _report(points[-1], job, seconds=time.monotonic() - started, ranks=ranks)
            if best_of(points) is points[-1]:
                best = learner.averaged_weights()
            if ranks.agree(epoch + 1 - best_of(points).epoch >= job.patience_epochs):
                break
    return Fit(best, tuple(points))


class _Learner:
    """The network with all that changes when it learns from a batch."""

    def __init__(self, job: TrainingJob, ranks: Ranks, *, num_steps: int) -> None:
        self._job, self._ranks = job, ranks
        self.num_steps, self.step, self.learning_rate = num_steps, 0, 0.0
        self._network = build_network(job.model).to(ranks.device)
        self._model = ranks.wrap(self._network)
        self._average = AveragedModel(self._network, multi_avg_fn=get_ema_multi_avg_fn(job.ema_decay))
        self._optimizer = torch.optim.AdamW(self._network.parameters(), weight_decay=job.weight_decay)

    def learn(self, batch: Batch, *, rows: int) -> float:
        """Make one step and return the summed loss of this rank's rows; ``rows`` counts those of all ranks."""
        self.learning_rate = learning_rate_at(self.step, self.num_steps, self._job)
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._model.train()
        loss = _loss_sum(self._model, batch, step=self.step, ranks=self._ranks)
        self._optimizer.zero_grad()
        # The wrapped model averages gradients over ranks: times world_size it is their sum, and the division by the
        # rows of all ranks makes it the gradient of the mean over the global batch.
        (loss * self._ranks.world_size / rows).backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), self._job.grad_clip)
        self._optimizer.step()
        self._average.update_parameters(self._network)
        self.step += 1
        return loss.item()

    @property
    def averaged(self) -> nn.Module:
        """The network with the moving average of the weights."""
        return self._average.module

    def averaged_weights(self) -> dict[str, Tensor]:
        """Copy the averaged weights to the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.averaged.state_dict().items()}


def _validation(network: nn.Module, feed: FeedLoader, ranks: Ranks) -> dict[str, float]:
    loss, accuracy = evaluate(network, feed, ranks)
    if not math.isfinite(loss):
        raise DataQualityError(
            f"validation log-loss is not a finite number: {loss}. "
            "Check the validation features; if they are sound, lower training.learning_rate."
        )
    return {"validation_log_loss": loss, "validation_accuracy": accuracy}


@torch.no_grad()
def evaluate(network: nn.Module, feed: FeedLoader, ranks: Ranks) -> tuple[float, float]:
    """Return mean log-loss (nats) and accuracy over the rows of all ranks: sums first, one division at the end."""
    network.eval()
    loss_sum = correct = 0.0
    for batch in feed.epoch(0):
        features_BF, target_B, weight_B = (tensor.to(ranks.device) for tensor in (batch[0], batch[2], batch[3]))
        scores_BK = network(features_BF)
        loss_sum += cross_entropy_sum(scores_BK, target_B, weight_B).item()
        correct += correct_sum(scores_BK, target_B, weight_B).item()
    loss_sum, correct = ranks.total(loss_sum, correct)
    return loss_sum / feed.plan.num_rows, correct / feed.plan.num_rows


def best_of(points: list[EpochPoint] | tuple[EpochPoint, ...]) -> EpochPoint:
    """Return the first point with the lowest validation log-loss."""
    return min(points, key=lambda point: point.validation_log_loss)


def learning_rate_at(step: int, num_steps: int, job: TrainingJob) -> float:
    """One cycle: up in a straight line over the warm-up steps, then down half a cosine to 0 after the last step."""
    warmup_steps = round(job.warmup_share * num_steps)
    if step < warmup_steps:
        return job.learning_rate * (step + 1) / warmup_steps
    done_share = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return job.learning_rate * (1 + math.cos(math.pi * done_share)) / 2


def _loss_sum(model: nn.Module, batch: Batch, *, step: int, ranks: Ranks) -> Tensor:
    """Return the summed loss of this rank's rows; raise, naming the rows, when it is not a finite number."""
    features_BF, target_B, weight_B = (tensor.to(ranks.device) for tensor in (batch[0], batch[2], batch[3]))
    scores_BK = model(features_BF)
    loss = cross_entropy_sum(scores_BK, target_B, weight_B)
    if math.isfinite(loss.item()):
        return loss
    broken_B = ~torch.isfinite(cross_entropy_B(scores_BK, target_B)).cpu()
    keys = first_five(batch.row_key_B[broken_B].tolist())
    raise DataQualityError(
        f"training loss is not a finite number: {loss.item()} at step {step} on rank {ranks.rank}, row keys {keys}. "
        "Check these rows' features; if they are sound, lower training.learning_rate."
    )


def _open_feed(job: TrainingJob, paths: tuple[str, ...], ranks: Ranks) -> FeedLoader:
    plan = plan_feed(read_file_rows(paths), world_size=job.world_size, batch_rows=job.batch_rows)
    return FeedLoader(plan, ranks.rank, num_features=job.model.num_features, seed=job.seed)


def _progress_bar(num_steps: int, ranks: Ranks) -> "tqdm[Never]":
    on_terminal = ranks.rank == 0 and sys.stderr.isatty()
    return tqdm(total=num_steps, unit="step", desc="training", disable=not on_terminal)


def _report(point: EpochPoint, job: TrainingJob, *, seconds: float, ranks: Ranks) -> None:
    if ranks.rank == 0:
        logger.info(
            "epoch %d of %d: train log-loss %.4f, validation log-loss %.4f, accuracy %.4f, %d rows, %.1f s",
            point.epoch,
            job.max_epochs,
            point.train_log_loss,
            point.validation_log_loss,
            point.validation_accuracy,
            point.rows,
            seconds,
        )
