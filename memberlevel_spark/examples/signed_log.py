"""The logarithm of numbers of either sign: sign(x) · log(1 + |x|), and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def signed_log(x: NDArray[Any]) -> NDArray[np.float64]:
    """0 stays 0; beyond it a factor counts alike everywhere."""
    return np.sign(x) * np.log1p(np.abs(x))


def signed_exp(log: NDArray[Any]) -> NDArray[np.float64]:
    """What has this signed logarithm."""
    return np.sign(log) * np.expm1(np.abs(log))
