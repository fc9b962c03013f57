"""The feature catalogue: a Markdown page that says of every declared feature what it means."""

from collections.abc import Sequence
from itertools import groupby

from memberlevel_spark.features.declare import ScalarFeature
from memberlevel_spark.features.feature import Feature

HEAD = "| feature | meaning | unit | window | when null |\n|---|---|---|---|---|"


def catalogue(declared: Sequence[Feature], others: Sequence[ScalarFeature] = ()) -> str:
    """One table per measure, sorted, so that the page does not depend on the order of the declarations.

    ``others`` are what follows from tenure and the level rules, in a table at the end.
    """
    ordered = sorted(declared, key=_place)
    tables = [
        f"## {measure}\n\n{HEAD}\n" + "\n".join(_row(feature) for feature in features)
        for measure, features in groupby(ordered, key=lambda feature: feature.measure)
    ]
    if others:
        rows = "\n".join(f"| `{feature.name}` | {feature.meaning} |" for feature in others)
        tables.append(f"## tenure and level\n\nNever null.\n\n| feature | meaning |\n|---|---|\n{rows}")
    return "\n\n".join(["# Features", *tables]) + "\n"


def _place(feature: Feature) -> tuple[str, str, float, int, str]:
    days = feature.window_days or float("inf")
    return feature.measure, feature.aggregate, days, feature.part or 0, feature.name


def _row(feature: Feature) -> str:
    window = f"{feature.window_days} days" if feature.window_days else "all days"
    if feature.kind.source == "calendar":
        window = "the as-of date"
    null = str(feature.when_null) if feature.nullable else "never null"
    return f"| `{feature.name}` | {feature.meaning} | {feature.unit} | {window} | {null} |"
