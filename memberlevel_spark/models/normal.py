"""Logarithms of the normal distribution that keep their digits, and their gradients, far out in both tails.

Φ is the distribution function of the standard normal and φ its density.
"""

import math
from typing import Any

import torch
from torch import Tensor


class _LogNormalCdf(torch.autograd.Function):
    """log Φ(z) with a gradient that holds far out: torch's own loses its digits from z = −30 and ends as inf or 0.

    The gradient is φ(z) / Φ(z) = √(2/π) / erfcx(−z/√2), with erfcx(x) = exp(x²) erfc(x).
    """

    @staticmethod
    def forward(context: Any, z: Tensor) -> Tensor:
        context.save_for_backward(z)
        return torch.special.log_ndtr(z)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Tensor:
        (z,) = context.saved_tensors
        slope: Tensor = math.sqrt(2 / math.pi) / torch.special.erfcx(-z / math.sqrt(2))
        return gradients[0] * slope


def log_normal_cdf(z: Tensor) -> Tensor:
    """Return log Φ(z), element by element, with a gradient that is right for every finite z."""
    result: Tensor = _LogNormalCdf.apply(z)
    return result


def log_between(low: Tensor, high: Tensor) -> Tensor:
    """Return log(Φ(high) − Φ(low)) for low < high, exact far out in both tails.

    Bins right of the centre are mirrored: there both Φ are near 1 and their difference would be lost.
    """
    mirror = low + high > 0
    log_low = log_normal_cdf(torch.where(mirror, -high, low))
    log_high = log_normal_cdf(torch.where(mirror, -low, high))
    gap = log_high - log_low  # > 0; log(1 − e^−gap) by the formula that keeps its digits
    small = gap < math.log(2)
    near = torch.log(-torch.expm1(-torch.where(small, gap, torch.ones_like(gap))))
    far = torch.log1p(-torch.exp(-torch.where(small, torch.ones_like(gap), gap)))
    return log_high + torch.where(small, near, far)
