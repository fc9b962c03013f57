"""The processes that train together, seen from one of them; a single process needs no process group.

Legend: a rank is one process, numbered from 0; world size is their number.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import memberlevel_spark.models.reproducible  # noqa: F401  (the same bytes from every way to launch)
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.training.job import TrainingJob

# The older name is all that torch before 2.12 knows, and deprecated since.
_OPTIONS_OF_DDP = inspect.signature(DistributedDataParallel).parameters
_SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _OPTIONS_OF_DDP else "broadcast_buffers"


@dataclass(frozen=True)
class Ranks:
    """This process's place among the processes of a run, and what they do together."""

    rank: int
    world_size: int
    device: torch.device

    def wrap(self, network: nn.Module) -> nn.Module:
        """Give a module whose backward pass averages the gradients over the ranks; alone, the network itself."""
        if self.world_size == 1:
            return network
        on_gpu = [self.device.index] if self.device.type == "cuda" else None
        # No network keeps statistics in buffers; gradients need no second copy.
        unsynchronised: dict[str, Any] = {_SYNC_BUFFERS: False}
        return DistributedDataParallel(network, device_ids=on_gpu, gradient_as_bucket_view=True, **unsynchronised)

    def total(self, *sums: float) -> list[float]:
        """Add each number up over the ranks, in float64; every rank gets the same result."""
        together = torch.tensor(sums, dtype=torch.float64, device=self.device)
        if self.world_size > 1:
            dist.all_reduce(together)
        return [float(value) for value in together]

    def each(self, value: float) -> list[float]:
        """Gather one number of every rank, in the order of the ranks; every rank gets them all."""
        own = torch.tensor([value], dtype=torch.float64, device=self.device)
        if self.world_size == 1:
            return [value]
        together = [torch.zeros_like(own) for _ in range(self.world_size)]
        dist.all_gather(together, own)
        return [float(number) for number in together]

    def any(self, decision: bool) -> bool:
        """Whether any rank decided so."""
        return self.total(float(decision))[0] > 0

    def agree(self, decision: bool) -> bool:
        """Let every rank take rank 0's decision."""
        flag = torch.tensor([int(decision)], device=self.device)
        if self.world_size > 1:
            dist.broadcast(flag, src=0)
        return bool(flag.item())


@contextmanager
def join_ranks(job: TrainingJob, rank: int) -> Iterator[Ranks]:
    """Join the run's process group (address and port come from the environment, as torchrun sets them) and leave it.

    Raises:
        ConfigError: the job wants a GPU and this process sees none.
    """
    training = job.training
    ranks = Ranks(rank, job.world_size, _device(training.backend))
    if job.world_size == 1:
        yield ranks
        return
    wait = timedelta(seconds=training.timeout_seconds)
    dist.init_process_group(training.backend, timeout=wait, rank=rank, world_size=job.world_size)
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread per process: sums over threads would depend on the machine's cores.

    Batches of a thousand rows are also faster so: threads that wait for each other on a busy machine cost several times
    what they save.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(backend: str) -> torch.device:
    if backend == "gloo":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("training.backend is nccl, but this process sees no GPU: 0 devices. Set it to gloo.")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
