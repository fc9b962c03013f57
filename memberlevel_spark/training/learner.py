"""The network with all that changes when it learns: optimizer, averaged weights, learning rate.

Shape legend: B rows of a rank's batch, F features, K levels.
"""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from memberlevel_spark.errors import DataQualityError, first_five
from memberlevel_spark.feed.fields import group_column
from memberlevel_spark.feed.loader import Batch
from memberlevel_spark.models.lane_dropout import LaneRandom, give_random
from memberlevel_spark.training.averaging import AveragedNetwork
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.objectives import objective_of
from memberlevel_spark.training.pretrained import take_over_events
from memberlevel_spark.training.ranks import Ranks
from memberlevel_spark.training.schedule import learning_rate_at


class Learner:
    """Learns from batches; the same on every rank after every step."""

    def __init__(self, job: TrainingJob, ranks: Ranks, lanes: range, *, num_steps: int) -> None:
        """Build the network with fresh weights, the same on every rank.

        Args:
            job: the run.
            ranks: this process's place.
            lanes: the lanes this rank reads, whose random numbers it draws.
            num_steps: steps of the whole run; the schedule ends with the last.
        """
        self._training, self._weights, self._ranks = job.training, job.weights, ranks
        self._groups = None if job.training.reweighing is None else group_column(job.training.reweighing)
        self.num_steps, self.step = num_steps, 0
        self._dtype = getattr(torch, job.training.precision)
        self._objective = objective_of(job, ranks.device)
        self._network = self._objective.network.to(ranks.device)
        if job.start_from is not None:
            take_over_events(self._network, Path(job.start_from), frozen=job.frozen)
        self._average = AveragedNetwork(self._network, job.training)
        self._random = LaneRandom(job.seed, lanes)
        give_random(self._network, self._random)
        self._model = ranks.wrap(torch.compile(self._network) if job.training.compile else self._network)  # type: ignore[arg-type]
        self._parameters = [weight for weight in self._network.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, weight_decay=job.training.weight_decay, fused=True)

    @property
    def learning_rate(self) -> float:
        """The rate of the step that comes next, or of the last one when all are made."""
        return learning_rate_at(min(self.step, self.num_steps - 1), self.num_steps, self._training)

    def learn(self, batch: Batch, *, number: int, rows: int, last: bool) -> float:
        """Add a batch's gradient, and make a step when it is the ``last`` of those that are added up.

        Args:
            batch: this rank's part of the batch.
            number: of the batch, from the start of the run.
            rows: rows of weight 1 in all batches of the step, on all ranks.
            last: whether the step is made now.

        Returns: the summed loss that is shown, of this rank's rows.

        Raises:
            DataQualityError: the loss is not a finite number; names the rows.
        """
        self._model.train()
        self._random.start_batch(number)
        with self._synchronised(last):
            loss, level_loss = self._loss_sums(batch)
            # The wrapped model averages gradients over ranks: times world_size it is their sum, and the division by the
            # rows of all ranks makes it the gradient of the mean over the global batch.
            (loss * self._ranks.world_size / rows + (self._l1() if last else 0.0)).backward()
        if last:
            self._make_step()
        return level_loss

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Let gradients cross between ranks with the last batch of a step only."""
        if last or not isinstance(self._model, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._model.no_sync()

    def _make_step(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        nn.utils.clip_grad_norm_(self._parameters, self._training.grad_clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._training.average == "ema" or self.step >= self._training.swa_start_share * self.num_steps:
            self._average.update()
        self.step += 1

    def _l1(self) -> Tensor | float:
        if not self._training.l1:
            return 0.0
        weights = [weight.abs().sum() for weight in self._parameters if weight.ndim > 1]
        return self._training.l1 * torch.stack(weights).sum()

    def _loss_sums(self, batch: Batch) -> tuple[Tensor, float]:
        """The loss that is learned from, and the one that is shown."""
        with torch.autocast(self._ranks.device.type, self._dtype, enabled=self._dtype != torch.float32):
            answer = self._model(batch.features_BF)
        learned_B = self._objective.learned_B(answer, batch)
        weight_B = self._weight_B(batch)
        loss = (learned_B * weight_B).sum()
        with torch.no_grad():
            shown = (self._objective.shown(answer, batch).loss_B * weight_B).sum()
        # Both at once: a GPU's answer is waited for here, and nowhere else in a step.
        loss_sum, shown_sum = torch.stack([loss.detach(), shown]).tolist()
        if math.isfinite(loss_sum):
            return loss, shown_sum
        keys = first_five(batch.row_key_B[~torch.isfinite(learned_B) & (batch.weight_B > 0)].tolist())
        raise DataQualityError(
            f"training loss is not a finite number: {loss_sum} at step {self.step} on rank {self._ranks.rank}, row"
            f" keys {keys}. Check these rows' features; if they are sound, lower training.learning_rate."
        )

    def _weight_B(self, batch: Batch) -> Tensor:
        """What each row counts; padding counts nothing."""
        if self._weights is None:
            return batch.weight_B
        by_level_K = batch.weight_B.new_tensor(self._weights.by_level)
        half_lives_B = (self._weights.last_day - batch.as_of_day_B) / (self._weights.half_life_days or math.inf)
        weight_B = batch.weight_B * by_level_K[batch.target_B] * torch.exp2(-half_lives_B)
        if self._groups is None:
            return weight_B
        by_group_GK = batch.weight_B.new_tensor(self._weights.by_group)
        return weight_B * by_group_GK[batch.lists[self._groups][:, 0].long(), batch.target_B]

    @property
    def kept(self) -> nn.Module:
        """The network with the weights that are evaluated and kept: averaged ones, once there are any."""
        averaged = self._training.average != "none" and self._average.num_updates > 0
        return self._average.network if averaged else self._network

    def kept_weights(self) -> dict[str, Tensor]:
        """Copy them to the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.kept.state_dict().items()}

    @torch.no_grad()
    def score(self, batch: Batch) -> tuple[float, float]:
        """Return the summed loss that is shown and the number of right rows of this rank, with the kept weights."""
        shown = self._objective.shown(self.kept.eval()(batch.features_BF), batch)
        loss_sum, right = torch.stack([(of_B * batch.weight_B).sum() for of_B in shown]).tolist()
        return loss_sum, right

    def state(self) -> dict[str, Tensor]:
        """Everything a later process needs to go on to the bit, as named tensors on the CPU."""
        tensors = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self._average.state().items()}
        for number, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
        tensors["step"] = torch.tensor(self.step)
        return {name: value.detach().cpu().clone() for name, value in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave."""
        self._network.load_state_dict(_below("network.", tensors))
        self._average.restore(_below("average.", tensors))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below("optimizer.", tensors).items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.step = int(tensors["step"])


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
