"""A second network whose weights are a mean over the steps of the first: exponential (EMA) or equal (SWA).

The same as ``torch.optim.swa_utils.AveragedModel``, which a test holds it against; that walks through all modules in
every step, a thirteenth of the time of a small network.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from memberlevel_spark.config.training import TrainingConfig


class AveragedNetwork:
    """The averaged network; its first update copies the weights, as long as there is none it stands for nothing."""

    def __init__(self, network: nn.Module, training: TrainingConfig) -> None:
        self.network = copy.deepcopy(network)
        self._decay = training.ema_decay if training.average == "ema" else None
        self._weights: list[Tensor] = list(self.network.parameters())
        self._sources: list[Tensor] = list(network.parameters())
        self.num_updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take one step's weights into the mean: w := w + share * (source - w)."""
        self.num_updates += 1
        share = 1 / self.num_updates if self._decay is None or self.num_updates == 1 else 1 - self._decay
        torch._foreach_lerp_(self._weights, self._sources, share)

    def state(self) -> dict[str, Tensor]:
        """Its weights by name, and how many updates made them."""
        return {**self.network.state_dict(), "num_updates": torch.tensor(self.num_updates)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.network.load_state_dict({name: value for name, value in state.items() if name != "num_updates"})
        self.num_updates = int(state["num_updates"])
