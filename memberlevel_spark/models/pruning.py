"""Magnitude pruning: the weights nearest to 0 become 0, wherever in the network they are.

In: a network. Out: a copy of the same shape. It is as large and as fast as before; its file can be compressed further.
"""

import copy

from torch import nn
from torch.nn.utils import prune


def pruned(network: nn.Module, share: float) -> nn.Module:
    """Return a copy in which ``share`` of the weights of all linear and convolution layers, the smallest ones, are 0.

    One threshold for all layers; biases, and weights of recurrent layers, stay.
    """
    smaller = copy.deepcopy(network)
    places = [(layer, "weight") for layer in _layers(smaller)]
    prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=share)
    for layer, name in places:
        prune.remove(layer, name)
    return smaller


def share_of_zeros(network: nn.Module) -> float:
    """Return the share of a network's weights that are 0; biases and other single rows of numbers do not count."""
    weights = [tensor for tensor in network.state_dict().values() if tensor.ndim > 1]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def _layers(network: nn.Module) -> list[nn.Linear | nn.Conv1d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv1d)]
