"""A member's days broken down by category, channel, product and hour: declared here, without Spark.

A feature speaks of a breakdown by name: ``spend_cents_by_category`` is a measure spread over the values of a dimension,
``products`` are the different values met. Only the dimensions that declared features speak of are made.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.schemas import BREAKDOWN_MEASURES

NUM_HOURS = 24
# Values of a dimension that are told apart where a measure is spread over them; the last stands for all others.
NUM_PARTS = 16
SPREAD_OVER = ("category", "channel", "hour")
DIMENSION_OF_ITEMS = {"categories": "category", "channels": "channel", "products": "product"}
# Those whose parts are the most frequent entries of a vocabulary.
WITH_ENTRIES = ("category", "channel")


@dataclass(frozen=True)
class Breakdown:
    """What a feature calls by ``name``: different values of a dimension, or a ``measure`` spread over them.

    ``entries`` are the texts of the first parts of a category or channel, by the vocabulary; a text that is none of
    them is in the last part.
    """

    name: str
    dimension: str
    measure: str | None = None
    entries: tuple[str, ...] = ()

    @property
    def num_parts(self) -> int:
        """Parts a spread measure has."""
        return NUM_HOURS if self.dimension == "hour" else NUM_PARTS

    @property
    def digest(self) -> str:
        """Fingerprint of the parts: a part of a category means nothing without the entries."""
        text = json.dumps([self.dimension, self.measure, self.entries, self.num_parts])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def meaning(self) -> str:
        """What each part is, in one sentence."""
        if self.dimension == "hour":
            return "Category = hour of the day in the business zone, 0 to 23"
        named = [f"{part} = {text}" for part, text in enumerate(self.entries)]
        return "Category " + ", ".join([*named, f"{self.num_parts - 1} = all others"])


# Everything a feature may speak of besides the measures of the daily tiles.
BREAKDOWNS: Mapping[str, Breakdown] = {
    **{name: Breakdown(name, dimension) for name, dimension in DIMENSION_OF_ITEMS.items()},
    **{f"{m}_by_{d}": Breakdown(f"{m}_by_{d}", d, m) for d in SPREAD_OVER for m in BREAKDOWN_MEASURES},
}


def declared_breakdowns(declared: Iterable[Feature], vocabulary: Vocabulary | None = None) -> tuple[Breakdown, ...]:
    """The breakdowns that features speak of, by name; without a vocabulary every category is one of the others."""
    names = sorted({feature.measure for feature in declared} & set(BREAKDOWNS))
    entries = vocabulary.entries if vocabulary else {}
    return tuple(_with_entries(BREAKDOWNS[name], entries) for name in names)


def fits_its_source(feature: Feature) -> bool:
    """Whether the aggregate of a feature can be made of its measure, and the part is one that the breakdown has."""
    breakdown = BREAKDOWNS.get(feature.measure)
    if breakdown is None:
        return feature.kind.source in ("tiles", "calendar")
    if feature.kind.source != ("categories" if breakdown.measure else "items"):
        return False
    return feature.part is None or feature.part < breakdown.num_parts


@dataclass(frozen=True)
class OfEntries:
    """A feature whose parts are entries of a vocabulary, which then belong to its meaning."""

    feature: Feature
    breakdown: Breakdown

    @property
    def name(self) -> str:
        """That of the feature."""
        return self.feature.name

    @property
    def digest(self) -> str:
        """Fingerprint of the declaration and of the entries."""
        return hashlib.sha256(f"{self.feature.digest} {self.breakdown.digest}".encode()).hexdigest()[:16]


def published_features(declared: Sequence[Feature], breakdowns: Sequence[Breakdown]) -> tuple[Feature | OfEntries, ...]:
    """The features with all that their meaning depends on."""
    spread = {b.name: b for b in breakdowns if b.measure and b.dimension in WITH_ENTRIES}
    return tuple(OfEntries(f, spread[f.measure]) if f.measure in spread else f for f in declared)


def dimensions_of(breakdowns: Iterable[Breakdown]) -> tuple[str, ...]:
    """Their dimensions, each once, in order."""
    return tuple(sorted({breakdown.dimension for breakdown in breakdowns}))


def spread_dimensions(declared: Iterable[Feature]) -> tuple[str, ...]:
    """The dimensions whose parts are entries of a vocabulary, among those over which features spread a measure."""
    spread = {breakdown.dimension for breakdown in declared_breakdowns(declared) if breakdown.measure}
    return tuple(dimension for dimension in WITH_ENTRIES if dimension in spread)


def first_day_read(declared: Sequence[Feature], first_as_of_day: int) -> int | None:
    """The first day whose breakdowns any feature of the dates looks at; None when one looks at all days."""
    windows = [feature.window_days for feature in declared if feature.measure in BREAKDOWNS]
    reach_days = max((days for days in windows if days is not None), default=0)
    return None if None in windows else first_as_of_day - reach_days + 1


def _with_entries(breakdown: Breakdown, entries: Mapping[str, Sequence[str]]) -> Breakdown:
    if breakdown.measure is None or breakdown.dimension not in WITH_ENTRIES:
        return breakdown
    named = tuple(entries.get(f"event_{breakdown.dimension}", ()))[: NUM_PARTS - 1]
    return replace(breakdown, entries=named)
