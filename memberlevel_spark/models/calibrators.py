"""Calibrators: what makes a network's probabilities and its expected spend mean what they say; numpy only.

In: the forecasts of a network. Out: the same, calibrated; ``calibrators.json`` beside the network. They are fitted in
``training/calibration.py``.

Shape legend: N rows, P points of a curve.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.errors import ArtefactError

CALIBRATORS = "calibrators.json"


@dataclass(frozen=True)
class Curve:
    """Points of a piecewise-linear map: ``x`` ascends strictly, ``y`` never falls."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Calibrators:
    """How each head is calibrated; as it stands here, none is.

    Args:
        temperature: what the levels' log-probabilities are divided by (Guo et al. 2017); above 1, less sure.
        p_buy: from P(order) to the calibrated one (isotonic regression, Zadrozny and Elkan 2002); its values lie
            between 0 and 1, both left out, and stay what they are at both ends.
        spend_cents: from expected spend to the calibrated one; it begins at (0, 0), and goes on beyond its last point
            by that point's ratio.
    """

    temperature: float = 1.0
    p_buy: Curve | None = None
    spend_cents: Curve | None = None

    def calibrated_p_buy(self, p_buy_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return P(order) [N], between 0 and 1."""
        if self.p_buy is None:
            return p_buy_N
        return np.interp(p_buy_N, self.p_buy.x, self.p_buy.y)

    def calibrated_spend(self, expected_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return expected spend [N] in minor units; 0 stays 0, and who is ahead of another is not behind after it."""
        if self.spend_cents is None:
            return expected_N
        x, y = self.spend_cents.x, self.spend_cents.y
        return np.where(expected_N > x[-1], expected_N * (y[-1] / x[-1]), np.interp(expected_N, x, y))

    def to_json(self) -> str:
        """Write them as JSON; floats survive to the bit."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Calibrators":
        """Read what ``to_json`` wrote.

        Raises:
            ArtefactError: it is no JSON, has other keys, or something that is not what ``Calibrators`` says of it.
        """
        try:
            values = json.loads(text)
            problems = _problems(values)
        except (ValueError, TypeError, KeyError) as error:
            problems = [f"{type(error).__name__} {error}"]
        if problems:
            raise ArtefactError(f"{CALIBRATORS} is damaged: {'; '.join(problems)[:300]}. Train again.")
        return cls(float(values["temperature"]), _curve(values["p_buy"]), _curve(values["spend_cents"]))


def _curve(values: Mapping[str, Sequence[float]] | None) -> Curve | None:
    return None if values is None else Curve(tuple(map(float, values["x"])), tuple(map(float, values["y"])))


def _problems(values: Any) -> list[str]:
    """What is wrong, in words; errors of types and keys are left to the caller."""
    if set(values) != {"temperature", "p_buy", "spend_cents"}:
        return [f"its keys are {', '.join(sorted(values))}"]
    temperature = float(values["temperature"])
    problems = [] if 0 < temperature < math.inf else [f"the temperature is {temperature}"]
    p_buy, spend = _curve(values["p_buy"]), _curve(values["spend_cents"])
    for name, curve in (("p_buy", p_buy), ("spend_cents", spend)):
        problems += [] if curve is None or _is_monotone(curve) else [f"{name} is not finite and monotone"]
    if p_buy is not None and not all(0 < y < 1 for y in p_buy.y):
        problems.append("p_buy leaves the range from 0 to 1")
    if spend is not None and not (len(spend.x) > 1 and (spend.x[0], spend.y[0]) == (0, 0)):
        problems.append("spend_cents does not begin at (0, 0)")
    return problems


def _is_monotone(curve: Curve) -> bool:
    finite = all(map(math.isfinite, (*curve.x, *curve.y)))
    ascends = all(a < b for a, b in pairwise(curve.x)) and all(a <= b for a, b in pairwise(curve.y))
    return len(curve.x) == len(curve.y) > 0 and finite and ascends
