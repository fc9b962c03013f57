"""The predictor: level probabilities from encoded features, the same function on the driver and in Spark workers.

Shapes: N rows, F features, K levels.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

# The library of matrix products may else sum in an order that depends on where a row lies in memory. It looks here
# once, at its first use: in a worker that is after this line.
os.environ.setdefault("MKL_CBWR", "AUTO")

# Rows per forward pass: larger blocks fall out of the processor's cache.
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class PackedModel:
    """A network as bytes, small enough to travel with the task, so that executors need no shared disk."""

    weights: bytes
    spec_json: str

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> "PackedModel":
        """From the files of a bundle or of a training run."""
        return cls(files["model.safetensors"], files["model.json"].decode("utf-8"))


@lru_cache(maxsize=4)
def load_network(model: PackedModel) -> "nn.Module":
    """The network in evaluation mode, loaded once per process and model."""
    import json

    import torch
    from safetensors.torch import load

    from memberlevel_spark.models.networks import ModelSpec, build_network

    torch.set_num_threads(1)
    network = build_network(ModelSpec.from_dict(json.loads(model.spec_json)))
    network.load_state_dict(load(model.weights))
    return network.eval()


def predict(model: PackedModel, features_NF: NDArray[np.float32]) -> NDArray[np.float64]:
    """Level probabilities [N, K] in double precision; every row sums to 1.

    A row's result is the same to the bit whichever rows come with it: every block has the same shape, on which the
    order depends in which a product is summed up.
    """
    import torch

    network = load_network(model)
    blocks = []
    with torch.inference_mode():
        for start in range(0, len(features_NF), BLOCK_ROWS):
            given = features_NF[start : start + BLOCK_ROWS]
            full = np.zeros((BLOCK_ROWS, given.shape[1]), dtype=np.float32)
            full[: len(given)] = given
            logits = network(torch.from_numpy(full))[: len(given)]
            blocks.append(torch.softmax(logits.double(), dim=1).numpy())
    return np.concatenate(blocks) if blocks else np.empty((0, 0))
