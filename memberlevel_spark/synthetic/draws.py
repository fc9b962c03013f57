"""Random numbers without a state: each is a function of the seed and of what it is for.

A draw is named by numbers (purpose, member, day, ...), so it is the same in whatever partition, order or batch it is
made. Keys and draws come from SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators"). No Spark. Arrays broadcast like numpy's.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# 52 bits: with 53 the half added below would round the largest draw up to 1.
MANTISSA_SHIFT = np.uint64(12)
STEP = 2.0**-52


class Purpose(IntEnum):
    """What a stream of draws is for; a number once given is never given again."""

    MEMBER = 1
    HISTORY = 2
    FUTURE = 3
    TREATED = 4
    ORDER = 5
    BROWSING = 6
    DEVICE = 9
    ACTIVITY = 10
    PROFILE = 11
    PRODUCT = 12
    RATE = 13
    DEFECT = 15


def root_key(seed: int, purpose: Purpose) -> Keys:
    """The key of everything drawn for one purpose."""
    return child(child(np.zeros(1, np.uint64), np.array([seed % 2**63])), int(purpose))


def child(keys: Keys, numbers: NDArray[np.integer] | int) -> Keys:
    """The key of the ``numbers``-th child of each key."""
    with np.errstate(over="ignore"):
        return _finalise(_finalise(keys ^ GOLDEN) + (np.asarray(numbers).astype(np.uint64) + np.uint64(1)) * GOLDEN)


def uniforms(keys: Keys, numbers: NDArray[np.integer] | int) -> Floats:
    """The ``numbers``-th draw of each key: uniform on (0, 1), neither end included."""
    with np.errstate(over="ignore"):
        bits = _finalise(keys + (np.asarray(numbers).astype(np.uint64) + np.uint64(1)) * GOLDEN)
    bits >>= MANTISSA_SHIFT
    drawn = bits.astype(np.float64)
    drawn += 0.5
    drawn *= STEP
    return drawn


def normals(keys: Keys, numbers: NDArray[np.integer] | int) -> Floats:
    """Standard normal draws by Box and Muller; each takes the draws ``numbers`` and ``numbers + 1``."""
    radius = np.sqrt(-2.0 * np.log(uniforms(keys, numbers)))
    return radius * np.cos(2.0 * np.pi * uniforms(keys, np.asarray(numbers) + 1))


def counts(keys: Keys, number: int, *, mean: float, most: int) -> NDArray[np.int64]:
    """Whole numbers from 1 to ``most``, geometric with that mean before they are cut."""
    drawn = uniforms(keys, number)
    if mean <= 1:
        return np.ones(drawn.shape, np.int64)
    return np.minimum(1 + np.floor(np.log(drawn) / np.log1p(-1.0 / mean)).astype(np.int64), most)


def _finalise(bits: Keys) -> Keys:
    """SplitMix64's finaliser; ``bits`` is an array of our own and is used up."""
    bits ^= bits >> np.uint64(30)
    bits *= FIRST
    bits ^= bits >> np.uint64(27)
    bits *= SECOND
    bits ^= bits >> np.uint64(31)
    return bits
