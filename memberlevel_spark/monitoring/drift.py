"""Drift: how far the histograms of later rows are from those of the rows a model learned from; no Spark.

In: two profiles. Out: one value per number and distance, None where one side has no rows.
Shape legend: B bins, G groups of bins.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date

import numpy as np
from scipy.stats import chi2, norm

from memberlevel_spark.examples.profile import EDGES, NUM_BINS, Profile
from memberlevel_spark.monitoring.watched import Watched

# Fewer bins where chance adds up over them: eight, whose edges the index was made for.
GROUP_EDGES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
GROUP_STARTS = [0, *(EDGES.index(edge) + 1 for edge in GROUP_EDGES)]
# Share taken for an empty bin, so that a new value gives a large and finite index.
SMALLEST_SHARE = 1e-4
# How often two samples of one population may differ by more than what is allowed to chance.
RARELY = 0.01
STEP = EDGES[1] - EDGES[0]
# Where the rows of a bin are taken to be; the outer two reach as far as the others.
CENTRES = tuple(EDGES[0] + STEP * (place - 0.5) for place in range(NUM_BINS))

Rows = Sequence[int]


def psi(expected: Rows, actual: Rows) -> float:
    """Population stability index: sum over bins of (a - e) ln(a / e), a and e the shares; 0 when they are equal.

    Below 0.1 is commonly read as stable, above 0.2 as shifted (Siddiqi 2006, "Credit Risk Scorecards").
    """
    shares = [[max(n / max(sum(counts), 1), SMALLEST_SHARE) for n in counts] for counts in (expected, actual)]
    return sum((a - e) * math.log(a / e) for e, a in zip(*shares, strict=True))


def grouped_psi(expected: Rows, actual: Rows) -> float:
    """The index over eight groups of the bins."""
    return psi(_grouped(expected), _grouped(actual))


def kolmogorov_smirnov(expected: Rows, actual: Rows) -> float:
    """The largest difference of the two cumulated shares, 0 to 1, as far as bins tell."""
    return float(np.abs(np.cumsum(_shares(expected)) - np.cumsum(_shares(actual))).max())


def jensen_shannon(expected: Rows, actual: Rows) -> float:
    """The Jensen-Shannon distance, the root of the divergence in bits, over eight groups of the bins: 0 to 1."""
    e_G, a_G = _shares(_grouped(expected)), _shares(_grouped(actual))
    middle_G = (e_G + a_G) / 2
    divergence = sum(_bits(shares_G, middle_G) for shares_G in (e_G, a_G)) / 2
    return math.sqrt(max(divergence, 0.0))


def wasserstein(expected: Rows, actual: Rows) -> float | None:
    """How far rows must be moved on average, in standard deviations of the expected ones; None where these are all in
    one bin."""
    e_B, a_B = _shares(expected), _shares(actual)
    deviation = math.sqrt(float(e_B @ np.square(CENTRES)) - float(e_B @ np.array(CENTRES)) ** 2)
    if np.count_nonzero(e_B) < 2:
        return None
    return float(np.abs(np.cumsum(e_B - a_B)).sum()) * STEP / deviation


DISTANCES: Mapping[str, Callable[[Rows, Rows], float | None]] = {
    "psi": grouped_psi,
    "ks": kolmogorov_smirnov,
    "js": jensen_shannon,
    "wasserstein": wasserstein,
}


def by_chance(expected: Rows, actual: Rows) -> dict[str, float]:
    """What each distance of two samples of one population passes in one case of a hundred; both have rows.

    With n and m independent rows, PSI / (1/n + 1/m) is about chi-square with a degree of freedom less than there are
    groups (Yurdakul 2018, "Statistical Properties of Population Stability Index"), and so is eight times the
    Jensen-Shannon divergence in nats (Endres and Schindelin 2003, "A new metric for probability distributions").
    Kolmogorov-Smirnov: sqrt(-ln(.01 / 2) / 2 (1/n + 1/m)) (Smirnov 1948). Wasserstein: taken as the difference of the
    means in standard deviations, which is about normal and which it is where two values are met.
    """
    spread = 1 / sum(expected) + 1 / sum(actual)
    num_groups = sum(e + a > 0 for e, a in zip(_grouped(expected), _grouped(actual), strict=True))
    index = float(chi2.isf(RARELY, max(num_groups - 1, 1))) * spread
    return {
        "psi": index,
        "ks": math.sqrt(-math.log(RARELY / 2) / 2 * spread),
        "js": math.sqrt(index / (8 * math.log(2))),
        "wasserstein": float(norm.isf(RARELY / 2)) * math.sqrt(spread),
    }


def distances(
    kind: str, expected: Profile, actual: Profile, as_of: date, *, not_judged: Collection[str] = ()
) -> Iterator[Watched]:
    """``<kind>_<distance>`` of every number that both profiles have, the numbers in the expected order.

    Thresholds come on top of what chance makes of so few rows; the numbers that are ``not_judged`` have none.
    """
    for name, e_rows in expected.bins.items():
        a_rows = actual.bins.get(name, ())
        known = bool(sum(e_rows) and sum(a_rows))
        usual = by_chance(e_rows, a_rows) if known else dict.fromkeys(DISTANCES, 0.0)
        for distance, of in DISTANCES.items():
            value = of(e_rows, a_rows) if known else None
            yield Watched(f"{kind}_{distance}", name, as_of, value, usual[distance], name not in not_judged)


def shares(expected: Profile, actual: Profile, as_of: date) -> Iterator[Watched]:
    """The share of rows without a value, and of those with a category that is not in the vocabulary, by column.

    The thresholds come on top of the training rows' share.
    """
    for metric, of_training, now in (
        ("feature_null_share", expected.nulls, actual.nulls),
        ("feature_new_category_share", expected.new_categories, actual.new_categories),
    ):
        for column, rows in of_training.items():
            share = now[column] / actual.num_rows if actual.num_rows else None
            yield Watched(metric, column, as_of, share, usual=rows / max(expected.num_rows, 1))


def _grouped(rows: Rows) -> list[int]:
    return [int(n) for n in np.add.reduceat(rows, GROUP_STARTS)]


def _shares(rows: Rows) -> np.ndarray:
    return np.array(rows) / sum(rows)


def _bits(of_G: np.ndarray, against_G: np.ndarray) -> float:
    met_G = of_G > 0
    return float((of_G[met_G] * np.log2(of_G[met_G] / against_G[met_G])).sum())
