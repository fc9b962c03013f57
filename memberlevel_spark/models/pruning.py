"""Magnitude pruning: the weights nearest to 0 become 0, wherever in the network they are.

In: a network. Out: a copy of the same shape. It is as large and as fast as before; its file can be compressed further.
"""

import copy
from collections.abc import Iterator

from torch import nn
from torch.nn.utils import prune

from memberlevel_spark.models.numeric_embeddings import FREQUENCIES, WEIGHTS, PeriodicEmbeddings


def pruned(network: nn.Module, share: float) -> nn.Module:
    """Return a copy in which ``share`` of the weights of all linear and convolution layers, the smallest ones, are 0.

    So are those of the layers that single numbers have. One threshold for all layers; biases, frequencies, and weights
    of recurrent layers, stay.
    """
    smaller = copy.deepcopy(network)
    places = list(_places(smaller))
    prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=share)
    for layer, name in places:
        prune.remove(layer, name)
    return smaller


def share_of_zeros(network: nn.Module) -> float:
    """Return the share of a network's weights that are 0; biases, other single rows and frequencies do not count."""
    named = network.state_dict().items()
    weights = [tensor for name, tensor in named if tensor.ndim > 1 and not name.endswith(FREQUENCIES)]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def _places(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d):
            yield layer, "weight"
        elif isinstance(layer, PeriodicEmbeddings):
            yield layer, WEIGHTS
