"""Losses as sums over rows: whoever adds up batches and ranks divides once, by the weight of all of them.

Shape legend: B rows of a batch, K levels.
"""

from torch import Tensor
from torch.nn import functional


def cross_entropy_B(scores_BK: Tensor, target_B: Tensor) -> Tensor:
    """Return −log P(target) of each row, in nats; the probabilities are the softmax of the scores."""
    return functional.cross_entropy(scores_BK, target_B, reduction="none")


def cross_entropy_sum(scores_BK: Tensor, target_B: Tensor, weight_B: Tensor) -> Tensor:
    """Return the weighted sum over rows of −log P(target), in nats; rows of weight 0 add nothing."""
    return (cross_entropy_B(scores_BK, target_B) * weight_B).sum()


def correct_sum(scores_BK: Tensor, target_B: Tensor, weight_B: Tensor) -> Tensor:
    """Return the weighted number of rows whose likeliest level is the target; ties go to the lower level."""
    return ((scores_BK.argmax(dim=1) == target_B) * weight_B).sum()
