"""Logarithms of the normal distribution that keep their digits, and their gradients, far out in both tails.

Φ is the distribution function of the standard normal and φ its density.
"""

import math
from typing import Any

import torch
from torch import Tensor

# Below this width the difference of two logarithms has lost digits of float32, and the slice is straight enough.
_NARROW = 0.02
_LOG_SQRT_2PI = math.log(2 * math.pi) / 2


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


def log_between_from(low: Tensor, width: Tensor) -> Tensor:
    """Return log(Φ(low + width) − Φ(low)) for widths above 0, exact also where low + width is the same float as low.

    A narrow slice is φ at its middle m times sinh(mw/2) / (m/2), the integral with the bend of φ left out, and the mean
    of that bend, −w²/24.
    """
    narrow = width < _NARROW
    wide = log_between(torch.where(narrow, 0.0, low), torch.where(narrow, 1.0, low + width))
    width = torch.where(narrow, width, _NARROW)
    middle = torch.where(narrow, low, 0.0) + width / 2
    slope = (middle * width).abs() / 2
    near = torch.log(width) - middle.square() / 2 - _LOG_SQRT_2PI + _log_sinhc(slope) - width.square() / 24
    return torch.where(narrow, near, wide)


def _log_sinhc(x: Tensor) -> Tensor:
    """log(sinh(x) / x) for x ≥ 0."""
    small = x < 0.1
    far = torch.where(small, 1.0, x)
    near = torch.where(small, x, 0.0).square()
    return torch.where(small, near / 6 - near.square() / 180, far + torch.log(-torch.expm1(-2 * far) / (2 * far)))


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
