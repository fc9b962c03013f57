"""What a run learns: members' outcomes, or a task that their own events set.

In: a batch and a network's answer. Out: per row the loss that is learned from, the loss that is shown, what was right.

Shape legend: B rows of a rank's batch, T tasks of the outcomes.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from memberlevel_spark.feed.loader import Batch
from memberlevel_spark.models.losses import LevelLoss, cross_entropy_B, level_loss_B, outcome_losses_B2, weighed_B
from memberlevel_spark.models.networks import Outlook, build_network
from memberlevel_spark.models.pretraining import Guess, PretextNetwork
from memberlevel_spark.training.job import TrainingJob


class Losses(NamedTuple):
    """Of each row of a batch."""

    learned_B: Tensor
    shown_B: Tensor
    right_B: Tensor


class Objective(Protocol):
    """A network to be trained, and how wrong it is."""

    @property
    def network(self) -> nn.Module:
        """Its weights are fresh."""
        ...

    def losses(self, answer: tuple[Tensor, ...], batch: Batch) -> Losses:
        """How wrong an answer of the network is."""
        ...


class Outcomes:
    """Level, orders and spend; shown is the log-loss of the level, right the likeliest level."""

    def __init__(self, job: TrainingJob) -> None:
        self.network = build_network(job.model)
        self._training = job.training
        self._level_loss: LevelLoss = "hinge" if job.model.name == "svm" else "likelihood"

    def losses(self, answer: tuple[Tensor, ...], batch: Batch) -> Losses:
        """How wrong an outlook is."""
        assert isinstance(answer, Outlook)
        shown_B = cross_entropy_B(answer.log_p_level_BK, batch.target_B)
        right_B = (answer.log_p_level_BK.argmax(dim=1) == batch.target_B).to(shown_B.dtype)
        return Losses(self._learned_B(answer, batch), shown_B, right_B)

    def _learned_B(self, outlook: Outlook, batch: Batch) -> Tensor:
        training = self._training
        level_B = level_loss_B(
            outlook.log_p_level_BK, batch.target_B, kind=self._level_loss, focal_gamma=training.focal_gamma
        )
        losses_BT = torch.cat([level_B[:, None], outcome_losses_B2(outlook, batch.outcomes_B2)], dim=1)
        if training.task_weights is None:
            return weighed_B(losses_BT, outlook.log_scale_T)
        # Of the learned weights nothing is left but a gradient of 0, which ranks wait for.
        given_T = losses_BT.new_tensor([1.0, training.task_weights.orders, training.task_weights.spend])
        return (losses_BT * given_T).sum(dim=1) + 0.0 * outlook.log_scale_T.sum()


class OwnEvents:
    """A task set by members' own events; nothing of their outcomes is looked at."""

    def __init__(self, job: TrainingJob) -> None:
        assert job.task != "outcomes"
        # Rows of a lane are told from each other: they are the same on any number of ranks.
        group_rows = job.training.batch_rows // job.training.lanes
        self.network = PretextNetwork(job.model, job.task, group_rows=group_rows)

    def losses(self, answer: tuple[Tensor, ...], batch: Batch) -> Losses:
        """How wrong the guesses are."""
        assert isinstance(answer, Guess)
        return Losses(answer.loss_B, answer.loss_B.detach(), answer.right_B)


def objective_of(job: TrainingJob) -> Objective:
    """What the job learns, with a fresh network from torch's current random state."""
    return Outcomes(job) if job.task == "outcomes" else OwnEvents(job)
