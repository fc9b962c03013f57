"""Declarations of features: name, unit, meaning and null default follow from them and are never typed. No Spark.

A published feature keeps its meaning: its digest covers what is declared and the version of its aggregate, and
``check_published`` refuses another digest under the same name.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from functools import cached_property
from typing import Protocol

from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.features.kernel_axes import MAX_WINDOW_DAYS
from memberlevel_spark.features.meanings import AGGREGATES, NEVER_DAYS, WEEKDAYS, Aggregate

AS_OF = "as_of_date"  # the measure of features of the calendar alone


@dataclass(frozen=True)
class Feature:
    """An aggregate of a measure over the lookback ``(as_of - N, as_of]``, or over all days up to the as-of date.

    The measure is one of the daily tiles', the name of an item or category axis, or ``as_of_date``; ``plus`` are
    measures added to it and ``of`` those it is compared with, ``part`` a weekday (0 for Monday), a category index or
    how many windows back, ``over_days`` the longer window of a share. Errors: ConfigError for a declaration that does
    not fit its aggregate.
    """

    measure: str
    aggregate: str
    _: KW_ONLY
    window_days: int | None = None
    plus: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    part: int | None = None
    over_days: int | None = None

    def __post_init__(self) -> None:
        if self.aggregate not in AGGREGATES:
            raise ConfigError(f"unknown aggregate: {self.aggregate}. Use one of: {', '.join(AGGREGATES)}.")
        problems = [*_misfits(self), *_window_misfits(self)]
        if problems:
            raise ConfigError(
                f"the declaration of {self.measure} {self.aggregate} does not fit: {'; '.join(problems)}."
                " features/meanings.py says what each aggregate takes."
            )

    @property
    def kind(self) -> Aggregate:
        """What the registry says of the aggregate."""
        return AGGREGATES[self.aggregate]

    @cached_property
    def name(self) -> str:
        """``spend_cents_sum_28d``: measure, aggregate and what else is declared, then the window."""
        stem = self._told(self.kind.name or f"{{measure}}_{self.aggregate}")
        days = self.over_days or self.window_days
        return stem if days is None else f"{stem}_{days}d"

    @property
    def unit(self) -> str:
        """Unit of the values."""
        return self._told(self.kind.unit)

    @property
    def meaning(self) -> str:
        """One sentence."""
        sentence = self._told(self.kind.meaning)
        return sentence[0].upper() + sentence[1:]

    @property
    def nullable(self) -> bool:
        """Whether a member may have no value."""
        return self.kind.when_null is not None

    @property
    def when_null(self) -> int:
        """What the encoder takes for a null; 0 where there is none."""
        default = self.kind.when_null or 0
        return (self.window_days or NEVER_DAYS) if default == "window" else default

    @property
    def moves_with_the_calendar(self) -> bool:
        """Whether it changes as days pass even where members stay the same: of the date itself, or without a window
        and accumulating. Recency, means and shares do not."""
        return self.kind.source == "calendar" or (self.kind.accumulates and self.window_days is None)

    @property
    def digest(self) -> str:
        """Fingerprint of the meaning: of everything declared, and of the aggregate's version, type and null."""
        kind = {"version": self.kind.version, "dtype": self.kind.dtype, "when_null": self.when_null}
        text = json.dumps({**asdict(self), **kind, "nullable": self.nullable}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def measures(self) -> tuple[str, ...]:
        """Every measure the feature reads."""
        return (self.measure, *self.plus, *self.of)

    def _told(self, template: str) -> str:
        days = f"the {self.window_days} days that end with the as-of date"
        return template.format(
            measure="_and_".join((self.measure, *self.plus)),
            what=" plus ".join((self.measure, *self.plus)),
            unit=unit_of(self.measure),
            of="_and_".join(self.of),
            below=" plus ".join(self.of),
            of_unit=unit_of(self.of[0]) if self.of else "",
            window=days if self.window_days else "all days up to the as-of date",
            days=self.window_days,
            over=self.over_days,
            part=self.part,
            weekday=WEEKDAYS[(self.part or 0) % len(WEEKDAYS)],
        )


def unit_of(measure: str) -> str:
    """The unit a measure's name carries: ``cents`` of spend_cents (also by category), ``orders`` of num_orders."""
    counted = measure.split("_by_")[0]
    if counted.startswith("num_"):
        return counted.removeprefix("num_").replace("_", " ")
    return counted.rsplit("_", 1)[-1]


class Published(Protocol):
    """What is published under a name, with a fingerprint of its meaning."""

    @property
    def name(self) -> str:
        """The column."""

    @property
    def digest(self) -> str:
        """Fingerprint of the meaning."""


def digests(declared: Sequence[Published]) -> dict[str, str]:
    """Name and digest of every feature: what is kept beside a published table or model."""
    return {feature.name: feature.digest for feature in declared}


def require_distinct_names(declared: Sequence[Feature]) -> None:
    """Refuse two declarations that give the same name. Errors: ConfigError."""
    twice = [name for name, number in Counter(feature.name for feature in declared).items() if number > 1]
    if twice:
        raise ConfigError(f"features declared twice: {first_five(twice)}. Declare each once.")


def check_published(declared: Sequence[Published], published: Mapping[str, str]) -> None:
    """Refuse a feature that means something else than the published one of its name. New names are free.

    Errors: ConfigError.
    """
    changed = [name for name, digest in digests(declared).items() if published.get(name, digest) != digest]
    if changed:
        raise ConfigError(
            f"published features changed their meaning: {first_five(changed)}. Declare the new meaning under a new"
            " name, or rebuild the tables and models that hold the old one."
        )


def _misfits(feature: Feature) -> list[str]:
    kind, problems = feature.kind, list[str]()
    given = {"of": bool(feature.of), "part": feature.part is not None, "over_days": feature.over_days is not None}
    for field, is_given in given.items():
        if is_given != (field in kind.needs):
            problems.append(f"{field} is {'not taken' if is_given else 'needed'}")
    if feature.plus and feature.aggregate not in ("share", "shortfall", "ratio"):
        problems.append("plus is not taken")
    if feature.part is not None and not 0 <= feature.part < (kind.num_parts or MAX_WINDOW_DAYS):
        problems.append(f"part {feature.part} is out of range")
    if (kind.source == "calendar") != (feature.measure == AS_OF):
        problems.append(f"{AS_OF} is the measure of the calendar, and of nothing else")
    return problems


def _window_misfits(feature: Feature) -> list[str]:
    days, window, problems = feature.window_days, feature.kind.window, list[str]()
    if (days is None and window == "needed") or (days is not None and window == "none"):
        problems.append(f"window_days is {'needed' if days is None else 'not taken'}")
    reach_days = max(
        feature.over_days or 0, (days or 0) * ((feature.part or 0) + 1 if feature.aggregate == "lag_sum" else 1)
    )
    if (days is not None and days < 1) or reach_days > MAX_WINDOW_DAYS:
        problems.append(f"it reaches {reach_days} days back, of 1 to {MAX_WINDOW_DAYS}")
    if days is not None and window == "weeks" and days % 7:
        problems.append(f"window_days {days} is not a number of whole weeks")
    if feature.aggregate == "trend" and days == 1:
        problems.append("one day has no slope")
    if feature.over_days is not None and feature.over_days <= (days or 0):
        problems.append(f"over_days {feature.over_days} is not longer than window_days")
    return problems
