"""What was watched, as rows of the report: drift by number, the rest by metric. In: rows of ``monitor_metrics``."""

from collections.abc import Iterable, Mapping
from typing import Any

from memberlevel_spark.monitoring.drift import DISTANCES
from memberlevel_spark.monitoring.watched import ALERT, OK, UNKNOWN, WARN

KINDS = ("score", "feature")
ORDER = (ALERT, WARN, OK, UNKNOWN)
METRIC_WORDS = {
    **{f"{kind}_psi": f"stability index of a {kind}" for kind in KINDS},
    **{f"{kind}_ks": f"Kolmogorov-Smirnov distance of a {kind}" for kind in KINDS},
    **{f"{kind}_js": f"Jensen-Shannon distance of a {kind}" for kind in KINDS},
    **{f"{kind}_wasserstein": f"Wasserstein distance of a {kind}" for kind in KINDS},
    "feature_null_share": "share without a value",
    "feature_new_category_share": "share of new categories",
    "volume_drop": "share of the usual rows that is missing",
    "volume_rise": "rows on top of the usual, as a share",
    "stale_days": "days since the newest row",
    "schema_differences": "columns that differ",
}

Row = Mapping[str, Any]


def drift_rows(watched: Iterable[Row]) -> list[dict[str, Any]]:
    """A row per number with all its distances and the worst of their levels: scores first, the furthest first."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in watched:
        kind, _, distance = row["metric"].partition("_")
        if kind in KINDS and distance in DISTANCES:
            found.setdefault((kind, row["slice"]), {})[distance] = row
    rows = [
        {
            "kind": kind,
            "name": name,
            "level": worst(row["level"] for row in by_distance.values()),
            **{distance: by_distance[distance]["value"] if distance in by_distance else None for distance in DISTANCES},
        }
        for (kind, name), by_distance in found.items()
    ]
    return sorted(
        rows, key=lambda row: (KINDS.index(row["kind"]), row["psi"] is None, -(row["psi"] or 0.0), row["name"])
    )


def other_rows(watched: Iterable[Row]) -> list[dict[str, Any]]:
    """The watched values that are no distance and no number of members, worst level first."""
    distances = {f"{kind}_{distance}" for kind in KINDS for distance in DISTANCES}
    rows = [dict(row) for row in watched if row["metric"] in METRIC_WORDS and row["metric"] not in distances]
    return sorted(rows, key=lambda row: (ORDER.index(row["level"]), row["metric"], row["slice"]))


def worst(levels: Iterable[str]) -> str:
    """An alert before a warning before what is well; unknown where nothing is known."""
    return min(levels, key=ORDER.index, default=UNKNOWN)


def in_words(metric: str) -> str:
    """A metric for readers; one that is not watched keeps its name."""
    return METRIC_WORDS.get(metric, metric)
