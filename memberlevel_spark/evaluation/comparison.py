"""The tables of the job experiments, as Markdown: every forecaster's metrics, and what the model is better by.

In: one result per forecaster, test date and seed. Out: text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from statistics import mean, stdev
from typing import Any

from memberlevel_spark.evaluation.inputs import FloatArray

SHOWN = (
    "log_loss",
    "accuracy",
    "macro_f1",
    "macro_recall",
    "upgrade_auc",
    "upgrade_ap",
    "ece",
    "churn_auc",
    "churn_ece",
    "orders_mae",
    "spend_mae",
    "spend_gini",
    "spend_decile_error",
    "category_hit_1",
    "category_hit_3",
    "category_log_loss",
)


@dataclass(frozen=True)
class Result:
    """What one forecaster reached on one test date with one seed."""

    test: date
    name: str
    seed: int
    metrics: Mapping[str, float | None]
    p_level_NK: FloatArray | None = field(repr=False)


def comparison_page(results: Sequence[Result], differences: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Write both tables, one pair for the forecasters of all test dates and one for those of some."""
    dates = {name: {r.test for r in results if r.name == name} for name in dict.fromkeys(r.name for r in results)}
    parts = []
    for asked in sorted({frozenset(days) for days in dates.values()}, key=lambda days: (-len(days), min(days))):
        names = [name for name, days in dates.items() if days >= asked]
        if len(asked) < max(map(len, dates.values())):
            names = [name for name in names if dates[name] == asked or name == "model"]
        of_dates = [result for result in results if result.name in names and result.test in asked]
        parts += [f"## {len(asked)} test dates, {min(asked)} to {max(asked)}", "", *_metric_table(of_dates, names), ""]
        compared = {name: differences[name] for name in names if name in differences}
        parts += ["The model less the other, and the middle 95 % of it over members:", "", *_gap_table(compared), ""]
    return "\n".join(parts)


@dataclass(frozen=True)
class CurvePoint:
    """What a forecaster reached that had learned from a share of the members, and how many members and rows it is."""

    share: float
    members: int
    rows: int
    result: Result

    def plain(self) -> dict[str, Any]:
        """As a row of ``experiments.json``."""
        told = {"share": self.share, "members": self.members, "rows": self.rows}
        return {**told, "forecaster": self.result.name, "seed": self.result.seed, **self.result.metrics}


def learning_curve_part(points: Sequence[CurvePoint]) -> str:
    """Write the learning curve as a table; nothing without points."""
    if not points:
        return ""
    metrics = [name for name in SHOWN if any(point.result.metrics.get(name) is not None for point in points)]
    lines = [_line(["share", "members", "rows", "forecaster", *metrics]), _line(["---"] * (len(metrics) + 4))]
    for share, members, rows, name in dict.fromkeys((p.share, p.members, p.rows, p.result.name) for p in points):
        own = [point.result for point in points if (point.share, point.result.name) == (share, name)]
        cells = [f"{share:g}", f"{members:,}", f"{rows:,}", name, *(_over_seeds(own, metric) for metric in metrics)]
        lines.append(_line(cells))
    head = f"## Learning curve: trained on a share of the members, all of them forecast as of {points[0].result.test}"
    return "\n".join(["", head, "", *lines, ""])


def _metric_table(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    """Mean over test dates, then over seeds; ± is the deviation between seeds."""
    metrics = [name for name in SHOWN if any(result.metrics.get(name) is not None for result in results)]
    lines = [_line(["forecaster", *metrics]), _line(["---"] * (len(metrics) + 1))]
    for name in names:
        own = [result for result in results if result.name == name]
        lines.append(_line([name, *(_over_seeds(own, metric) for metric in metrics)]))
    return lines


def _over_seeds(results: Sequence[Result], metric: str) -> str:
    by_seed: dict[int, list[float]] = {}
    for result in results:
        value = result.metrics.get(metric)
        if value is not None:
            by_seed.setdefault(result.seed, []).append(value)
    means = [mean(values) for values in by_seed.values()]
    if not means:
        return "n/a"
    digits = 2 if abs(mean(means)) >= 10 else 4
    spread = f" ± {stdev(means):.{digits}f}" if len(means) > 1 else ""
    return f"{mean(means):.{digits}f}{spread}"


def _gap_table(differences: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    if not differences:
        return ["Nothing to compare."]
    metrics = [gap["metric"] for gap in next(iter(differences.values()))]
    lines = [_line(["model less", *metrics]), _line(["---"] * (len(metrics) + 1))]
    return lines + [_line([name, *map(_gap, gaps)]) for name, gaps in differences.items()]


def _gap(gap: Mapping[str, Any]) -> str:
    if gap["mean"] is None or gap["low"] is None:
        return "n/a"
    return f"{gap['mean']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
