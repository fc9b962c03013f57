"""What a run learns: members' outcomes, or a task that their own events set.

In: a batch and a network's answer. Out: per row the loss that is learned from; the loss that is shown, and what was
right.

Shape legend: B rows of a rank's batch, T tasks of the outcomes.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from memberlevel_spark.feed.fields import NEXT_CATEGORY
from memberlevel_spark.feed.loader import Batch
from memberlevel_spark.models.losses import (
    LevelLoss,
    category_loss_B,
    cross_entropy_B,
    level_loss_B,
    outcome_losses_B2,
    weighed_B,
)
from memberlevel_spark.models.networks import Outlook, build_network
from memberlevel_spark.models.pretraining import Guess, PretextNetwork
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.teacher import Teacher


class Shown(NamedTuple):
    """Of each row of a batch, what people look at."""

    loss_B: Tensor
    right_B: Tensor


class Objective(Protocol):
    """A network to be trained, and how wrong it is."""

    @property
    def network(self) -> nn.Module:
        """Its weights are fresh."""
        ...

    def learned_B(self, answer: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """The loss that an answer of the network is learned from."""
        ...

    def shown(self, answer: tuple[Tensor, ...], batch: Batch) -> Shown:
        """How wrong and how right it is, in words that people know."""
        ...


class Outcomes:
    """Level, orders, spend and, where the network tells it, the next category; shown is the log-loss of the level,
    right the likeliest level."""

    def __init__(self, job: TrainingJob, device: torch.device) -> None:
        # Before the seed, as building a network draws from it.
        self._teacher = Teacher(job, device) if job.teacher_dir else None
        torch.manual_seed(job.seed)
        self.network = build_network(job.model)
        if self.network.body.components is not None:
            self.network.body.components.take(job.components)
        self._training = job.training
        self._level_loss: LevelLoss = "hinge" if job.model.name == "svm" else "likelihood"

    def learned_B(self, answer: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """All tasks, weighed."""
        assert isinstance(answer, Outlook)
        training, log_p_level_BK = self._training, answer.log_p_level_BK
        level_B = level_loss_B(log_p_level_BK, batch.target_B, kind=self._level_loss, focal_gamma=training.focal_gamma)
        if self._teacher is not None:
            level_B = self._teacher.mixed_in_B(level_B, log_p_level_BK, batch.features_BF)
        losses = [level_B[:, None], outcome_losses_B2(answer, batch.outcomes_B2)]
        if answer.log_p_category_BC is not None:
            losses.append(category_loss_B(answer.log_p_category_BC, batch.lists[NEXT_CATEGORY][:, 0])[:, None])
        losses_BT = torch.cat(losses, dim=1)
        if training.task_weights is None:
            return weighed_B(losses_BT, answer.log_scale_T)
        # Of the learned weights nothing is left but a gradient of 0, which ranks wait for.
        weights = training.task_weights
        given_T = losses_BT.new_tensor([1.0, weights.orders, weights.spend, weights.category])[: losses_BT.shape[1]]
        return (losses_BT * given_T).sum(dim=1) + 0.0 * answer.log_scale_T.sum()

    def shown(self, answer: tuple[Tensor, ...], batch: Batch) -> Shown:
        """Of the level alone."""
        assert isinstance(answer, Outlook)
        right_B = answer.log_p_level_BK.argmax(dim=1) == batch.target_B
        return Shown(cross_entropy_B(answer.log_p_level_BK, batch.target_B), right_B.to(torch.float32))


class OwnEvents:
    """A task set by members' own events; nothing of their outcomes is looked at."""

    def __init__(self, job: TrainingJob) -> None:
        assert job.task != "outcomes"
        torch.manual_seed(job.seed)
        # Rows of a lane are told from each other: they are the same on any number of ranks.
        group_rows = job.training.batch_rows // job.training.lanes
        self.network = PretextNetwork(job.model, job.task, group_rows=group_rows)

    def learned_B(self, answer: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """How wrong the guesses are."""
        assert isinstance(answer, Guess)
        return answer.loss_B

    def shown(self, answer: tuple[Tensor, ...], batch: Batch) -> Shown:
        """The same, and the share of guesses that were right."""
        assert isinstance(answer, Guess)
        return Shown(answer.loss_B, answer.right_B)


def objective_of(job: TrainingJob, device: torch.device) -> Objective:
    """What the job learns, with a fresh network that follows from its seed."""
    return Outcomes(job, device) if job.task == "outcomes" else OwnEvents(job)
