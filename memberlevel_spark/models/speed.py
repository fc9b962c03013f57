"""How long a network takes; the caller says on how many threads."""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def median_seconds(action: Callable[[], object], num_timings: int) -> float:
    """Return the median of ``num_timings`` runs of ``action``, after one to warm up."""
    action()
    return median(_seconds(action) for _ in range(num_timings))


def forward_seconds(network: nn.Module, rows_NF: NDArray[np.float32], *, block_rows: int, num_timings: int) -> float:
    """Return the seconds in which a network reads all rows, ``block_rows`` at once: the median of several times."""
    blocks = torch.from_numpy(rows_NF).split(block_rows)

    @torch.inference_mode()
    def read_all() -> None:
        for block_BF in blocks:
            network(block_BF)

    return median_seconds(read_all, num_timings)


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
