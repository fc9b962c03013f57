"""Dropout that drops the same units whatever number of processes trains: its random numbers belong to the lanes.

Every batch takes an equal, consecutive part of its rows from each lane of the feed, and lanes are shared out among the
ranks. So random numbers drawn per lane from (seed, batch number, lane) are the same on 1, 2 or 4 ranks, and none have
to be kept in a checkpoint.

Shape legend: B rows of a rank's batch, the same number from each lane.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_SCALE = 2**16


class LaneRandom:
    """One source of random numbers per lane of a rank; the same on every kind of device."""

    def __init__(self, seed: int, lanes: Sequence[int]) -> None:
        self._seed, self._lanes = seed, lanes
        self.start_batch(0)

    def start_batch(self, number: int) -> None:
        """Begin the random numbers of a batch, counted from the start of the run."""
        self._sources = [np.random.SFC64([self._seed, number, lane]) for lane in self._lanes]

    def kept_like(self, values: Tensor, threshold: int) -> Tensor:
        """Draw for each of ``values`` [B, ...] whether it is kept, with probability ``threshold`` / 65,536."""
        kept = np.empty(values.shape, dtype=np.float32)
        for rows, source in zip(np.split(kept, len(self._sources)), self._sources, strict=True):
            # Two random bytes a value: several times faster than a float, and as good for a share.
            drawn = source.random_raw(-(-rows.size // 4)).view(np.uint16)[: rows.size]
            rows.reshape(-1)[:] = drawn < threshold
        return torch.from_numpy(kept).to(values.device)

    def uniform(self, num_rows: int, num_each: int, device: torch.device) -> Tensor:
        """Draw ``num_each`` numbers in [0, 1) for each of ``num_rows`` rows."""
        drawn = np.empty((num_rows, num_each), dtype=np.float32)
        for rows, source in zip(np.split(drawn, len(self._sources)), self._sources, strict=True):
            raw = source.random_raw(-(-rows.size // 4)).view(np.uint16)[: rows.size]
            rows.reshape(-1)[:] = raw / _SCALE
        return torch.from_numpy(drawn).to(device)


class LaneDropout(nn.Module):
    """Drop each value with probability ``share`` in training and scale the others up by 1 / (1 - share).

    Until ``give_random`` it draws from torch's global random state, as torch's own dropout does.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.random: LaneRandom | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Return ``values`` [B, ...] with some of them 0; outside training, and with share 0, unchanged."""
        if not self.training or self.share == 0:
            return values
        if self.random is None:
            return functional.dropout(values, self.share)
        threshold = round((1 - self.share) * _SCALE)
        return values * self.random.kept_like(values, threshold).mul_(_SCALE / threshold)


class LaneDraws(nn.Module):
    """Draws random numbers, from the lanes once ``give_random`` has given them."""

    def __init__(self) -> None:
        super().__init__()
        self.random: LaneRandom | None = None

    def forward(self, num_rows: int, num_each: int, device: torch.device) -> Tensor:
        """Return [B, ``num_each``] in [0, 1)."""
        if self.random is None:
            return torch.rand(num_rows, num_each, device=device)
        return self.random.uniform(num_rows, num_each, device)


def give_random(network: nn.Module, random: LaneRandom) -> None:
    """Let everything of a network that leaves something to chance draw from ``random``."""
    for module in network.modules():
        if isinstance(module, (LaneDropout, LaneDraws)):
            module.random = random
