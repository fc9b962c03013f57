"""Brings batches to the device that computes, one batch ahead of it where that is a GPU.

Shape legend: as in the loader.
"""

from collections.abc import Generator, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from memberlevel_spark.feed.loader import Batch

Label = TypeVar("Label")


def on_device(batches: Iterator[tuple[Label, Batch]], device: torch.device) -> Generator[tuple[Label, Batch]]:
    """Give the same batches on ``device``; to a GPU they are copied from pinned memory while it computes."""
    if device.type == "cpu":
        yield from batches
        return
    copying = torch.cuda.Stream(device)
    ahead: tuple[Label, Batch] | None = None
    for label, batch in batches:
        with torch.cuda.stream(copying):
            copied = _mapped(batch, device)
        if ahead is not None:
            yield ahead
        torch.cuda.current_stream(device).wait_stream(copying)
        _mark_used(copied, device)
        ahead = (label, copied)
    if ahead is not None:
        yield ahead


def _mapped(batch: Batch, device: torch.device) -> Batch:
    def move(tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(device, non_blocking=True)

    lists = {name: move(tensor) for name, tensor in batch.lists.items()}
    return Batch(*map(move, batch[:-1]), lists)  # type: ignore[call-arg, arg-type]


def _mark_used(batch: Batch, device: torch.device) -> None:
    """Keep the memory of a batch until the computing stream is done with it."""
    for tensor in (*batch[:-1], *batch.lists.values()):
        tensor.record_stream(torch.cuda.current_stream(device))
