"""The feature catalogue: a Markdown page that says of every declared feature what it means."""

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

from memberlevel_spark.features.breakdowns import Breakdown
from memberlevel_spark.features.declare import ScalarFeature
from memberlevel_spark.features.feature import Feature

HEAD = "| feature | meaning | unit | window | when null |\n|---|---|---|---|---|"


class Described(Protocol):
    """A column and one sentence about it."""

    @property
    def name(self) -> str:
        """The column."""

    @property
    def meaning(self) -> str:
        """One sentence."""


def catalogue(
    declared: Sequence[Feature],
    others: Sequence[ScalarFeature] = (),
    *,
    profile: Sequence[Described] = (),
    breakdowns: Sequence[Breakdown] = (),
) -> str:
    """One table per measure, sorted, so that the page does not depend on the order of the declarations.

    ``profile`` are attributes of the member profiles, ``others`` what follows from tenure and the level rules; each
    has a table at the end. Under a measure that is broken down stands what its parts are.
    """
    parts = {b.name: f"{b.meaning}.\n\n" for b in breakdowns if b.measure}
    ordered = sorted(declared, key=_place)
    tables = [
        f"## {measure}\n\n{parts.get(measure, '')}{HEAD}\n" + "\n".join(_row(feature) for feature in features)
        for measure, features in groupby(ordered, key=lambda feature: feature.measure)
    ]
    if profile:
        tables.append(f"## profile\n\n{_plain_table(profile)}")
    if others:
        tables.append(f"## tenure and level\n\nNever null.\n\n{_plain_table(others)}")
    return "\n\n".join(["# Features", *tables]) + "\n"


def _plain_table(described: Sequence[Described]) -> str:
    rows = "\n".join(f"| `{feature.name}` | {feature.meaning} |" for feature in described)
    return f"| feature | meaning |\n|---|---|\n{rows}"


def _place(feature: Feature) -> tuple[str, str, float, int, str]:
    days = feature.window_days or float("inf")
    return feature.measure, feature.aggregate, days, feature.part or 0, feature.name


def _row(feature: Feature) -> str:
    window = f"{feature.window_days} days" if feature.window_days else "all days"
    if feature.kind.source == "calendar":
        window = "the as-of date"
    null = str(feature.when_null) if feature.nullable else "never null"
    return f"| `{feature.name}` | {feature.meaning} | {feature.unit} | {window} | {null} |"
