"""Figures of what a forecast of outcomes is good for: gain curves, tenths of spend, what is expected of members.

In: curves, sums and counts as plain values. Out: one ``<svg>`` element (see ``plot_style``), or a PNG file.

Every SVG function raises DataQualityError on empty data. Shape legend: P points of a curve.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import nan
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from memberlevel_spark.evaluation.comparison import CurvePoint
from memberlevel_spark.evaluation.plot_style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    compact,
    legend_below,
    png_of,
    refuse_empty,
    short,
    svg_of,
)

CURVE_COLOURS = (BLUE, ORANGE, GREEN)
CURVE_METRICS = {"log_loss": "log-loss", "upgrade_auc": "upgrade AUC"}


def gain_curves(event: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, found: str) -> str:
    """Share ``found`` against the share of members contacted, one line per forecaster, and the line of chance.

    ``curves``: label -> contacted [P], captured [P]; at most three. ``event`` keeps the ids of figures apart.
    """
    refuse_empty("gain_curves", list(curves))
    return svg_of(f"gain-{event}", partial(_paint_gains, curves, found), height_in=3.5)


def spend_by_tenths(tenths: Sequence[Mapping[str, float]], *, currency: str) -> str:
    """Bars of the expected and the realised sum of each tenth of members, from ``outcomes.spend_by_tenths``."""
    refuse_empty("spend_by_tenths", tenths)
    return svg_of("spend-tenths", partial(_paint_tenths, tenths, currency), height_in=3.2)


def chance_histogram(counts: Sequence[float]) -> str:
    """Members by their chance of no order; bars are of equal width and cover 0 to 100 %."""
    refuse_empty("chance_histogram", counts)
    return svg_of("churn-chances", partial(_paint_chances, counts), height_in=2.9)


def spend_ranges(tenths: Sequence[Mapping[str, float]], *, currency: str) -> str:
    """Mean expected spend of each tenth of members, and the mean of their 10 % and 90 % bounds as a line.

    Rows: expected, low, high, amounts in MAJOR units of ``currency``.
    """
    refuse_empty("spend_ranges", tenths)
    return svg_of("spend-ranges", partial(_paint_ranges, tenths, currency), height_in=3.0)


def group_levels(attribute: str, groups: Sequence[Mapping[str, Any]]) -> str:
    """Mean expected and mean realised level of each group, joined by a line; a group without numbers has none.

    Rows: group, expected_level, realised_level, level numbers or None. ``attribute`` keeps the ids of figures apart.
    """
    refuse_empty("group_levels", groups)
    return svg_of(f"group-{attribute}", partial(_paint_groups, groups), height_in=1.2 + 0.34 * len(groups))


def learning_curve_png(points: Sequence[CurvePoint]) -> bytes:
    """Log-loss and upgrade AUC by the number of members learned from: a dot per seed, a line through their means."""
    return png_of(partial(_paint_learning, points), height_in=3.4)


def _paint_gains(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], found: str, figure: Figure) -> None:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=1, linestyle=(0, (4, 3)), label="at random")
    for (label, (contacted_P, captured_P)), colour in zip(curves.items(), CURVE_COLOURS, strict=False):
        axes.plot(contacted_P, captured_P, color=colour, linewidth=1.6, label=label)
    axes.set(xlim=(-0.02, 1.02), xlabel="share of members contacted", ylabel=found)
    axes.set_ylim(bottom=-0.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(True)
    legend_below(figure, axes, columns=3)


def _paint_tenths(tenths: Sequence[Mapping[str, float]], currency: str, figure: Figure) -> None:
    axes, places = figure.subplots(), range(1, len(tenths) + 1)
    for key, offset, colour in (("expected", -0.2, BLUE), ("realised", 0.2, ORANGE)):
        sums = [tenth[key] for tenth in tenths]
        axes.bar([place + offset for place in places], sums, width=0.36, color=colour, label=key)
    _tenth_axis(axes, len(tenths), currency)
    legend_below(figure, axes, columns=2)


def _paint_chances(counts: Sequence[float], figure: Figure) -> None:
    axes, width = figure.subplots(), 1 / len(counts)
    axes.bar([(place + 0.5) * width for place in range(len(counts))], counts, width=0.88 * width, color=BLUE)
    axes.set(xlim=(0, 1), xlabel="chance of no order", ylabel="members")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_compact_tick))
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)


def _paint_ranges(tenths: Sequence[Mapping[str, float]], currency: str, figure: Figure) -> None:
    axes, places = figure.subplots(), list(range(1, len(tenths) + 1))
    axes.bar(places, [tenth["expected"] for tenth in tenths], width=0.7, color=BLUE, alpha=0.75, label="expected")
    low, high = ([tenth[key] for tenth in tenths] for key in ("low", "high"))
    axes.vlines(places, low, high, color=INK, linewidth=1.4, label="10 % to 90 % forecast")
    _tenth_axis(axes, len(tenths), f"{currency} per member")
    legend_below(figure, axes, columns=2)


def _tenth_axis(axes: Axes, num_tenths: int, unit: str) -> None:
    axes.set(xlabel="tenths of members, lowest expected spend first", ylabel=unit)
    axes.set_xticks(range(1, num_tenths + 1))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(_compact_tick))
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)


def _paint_groups(groups: Sequence[Mapping[str, Any]], figure: Figure) -> None:
    axes, places = figure.subplots(), list(range(len(groups), 0, -1))
    for key, marker, colour in (("expected_level", "o", BLUE), ("realised_level", "D", ORANGE)):
        values = [nan if row[key] is None else row[key] for row in groups]
        axes.scatter(values, places, s=34, marker=marker, color=colour, label=key.removesuffix("_level"), zorder=3)
    for place, row in zip(places, groups, strict=True):
        if row["expected_level"] is not None:
            axes.plot([row["expected_level"], row["realised_level"]], [place] * 2, color=INK, alpha=0.5, linewidth=1.2)
    axes.set_yticks(places, [short(row["group"]) for row in groups])
    axes.set(ylim=(0.4, len(groups) + 0.6), xlabel="mean level, 0 is the lowest")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    legend_below(figure, axes, columns=2)


def _compact_tick(value: float, _position: int | None) -> str:
    return compact(value)


def _paint_learning(points: Sequence[CurvePoint], figure: Figure) -> None:
    panels = figure.subplots(1, len(CURVE_METRICS))
    for axes, (metric, label) in zip(panels, CURVE_METRICS.items(), strict=True):
        for name, colour in zip(dict.fromkeys(point.result.name for point in points), CURVE_COLOURS, strict=False):
            _paint_seeds(axes, [point for point in points if point.result.name == name], metric, colour)
        members = sorted({point.members for point in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(members, [compact(number) for number in members])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="members learned from", ylabel=label)
        axes.grid(True)
    legend_below(figure, panels[0], columns=2)


def _paint_seeds(axes: Axes, points: Sequence[CurvePoint], metric: str, colour: str) -> None:
    known: list[tuple[int, float]] = [
        (point.members, value) for point in points if (value := point.result.metrics.get(metric)) is not None
    ]
    members = sorted({number for number, _ in known})
    means = [mean(value for number, value in known if number == each) for each in members]
    axes.plot(members, means, color=colour, linewidth=1.6, label=points[0].result.name.replace("_", " "))
    axes.scatter([number for number, _ in known], [value for _, value in known], s=12, color=colour)
