"""The figures of a run, each a pure function from plain values to an SVG string.

In: counts, probabilities and histories, one value per level or date. Out: one ``<svg>`` element (see ``plot_style``).

Every function raises DataQualityError on empty data: the page then says so in words instead of showing an empty frame.
Shape legend: K levels (0 is the lowest), T dates.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from memberlevel_spark.evaluation.calibration import ALL_LEVELS, CHURNS, MOVES_UP
from memberlevel_spark.evaluation.plot_style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    OUTLINE,
    compact,
    legend_below,
    legend_columns,
    level_colours,
    refuse_empty,
    short,
    svg_of,
)

HEAT = "#08519c"
CALIBRATED = ((ALL_LEVELS, "all levels", BLUE), (MOVES_UP, "moves up", ORANGE), (CHURNS, "no order", GREEN))
CROWDED = 6  # more levels than this get smaller text


def level_distribution(
    level_names: Sequence[str], counts_now_K: Sequence[float], *, counts_expected_K: Sequence[float], horizon_days: int
) -> str:
    """Grouped bars per level, highest on top: members now (pale) and expected in ``horizon_days`` (full colour)."""
    refuse_empty("level_distribution", level_names)
    paint = partial(_paint_distribution, level_names, (counts_now_K, counts_expected_K), f"in {horizon_days} days")
    return svg_of(
        "level-distribution", paint, height_in=0.9 + (0.55 if len(level_names) <= CROWDED else 0.42) * len(level_names)
    )


def migration_heat_map(level_names: Sequence[str], migration_KK: Sequence[Sequence[float]]) -> str:
    """Expected members by level now (row) and future level (column); the shade is the share of the row."""
    refuse_empty("migration_heat_map", level_names)
    paint = partial(_paint_heat_map, level_names, migration_KK, ("level now", "expected level"))
    return svg_of("migration", paint, height_in=_heat_height_in(level_names))


def moves_heat_map(
    level_names: Sequence[str], moves_KK: Sequence[Sequence[float]], *, name: str, titles: tuple[str, str]
) -> str:
    """Members by level then (row) and level held later (column), expected or realised; the shade is the row's share.

    ``name`` keeps the ids of two such figures on one page apart; ``titles`` are of the rows and of the columns.
    """
    refuse_empty("moves_heat_map", level_names)
    paint = partial(_paint_heat_map, level_names, moves_KK, titles)
    return svg_of(name, paint, height_in=_heat_height_in(level_names))


def confusion_heat_map(level_names: Sequence[str], confusion_KK: Sequence[Sequence[float]]) -> str:
    """Test members by realised level (row) and predicted level (column); the shade is the share of the row."""
    refuse_empty("confusion_heat_map", level_names)
    paint = partial(_paint_heat_map, level_names, confusion_KK, ("realised level", "predicted level"))
    return svg_of("confusion", paint, height_in=_heat_height_in(level_names))


def calibration_curve(points: Sequence[Mapping[str, Any]], *, name: str = "calibration") -> str:
    """Observed share against mean probability per bin, from ``calibration``; dots grow with the rows.

    ``name`` keeps the ids of two such figures on one page apart.
    """
    refuse_empty("calibration_curve", points)
    return svg_of(name, partial(_paint_calibration, points), height_in=4.2)


def spend_history(history: Sequence[tuple[dt.date, float]], *, currency: str) -> str:
    """Line of spend by date, amounts in MAJOR units of ``currency``; the axis starts at 0 unless there are refunds."""
    refuse_empty("spend_history", history)
    return svg_of("spend-history", partial(_paint_spend, history, currency), height_in=2.95)


def level_history(history: Sequence[tuple[dt.date, Sequence[float]]], level_names: Sequence[str]) -> str:
    """Members per level over time, stacked with the lowest level at the bottom; one list of K counts per date."""
    refuse_empty("level_history", history)
    legend_rows = math.ceil(len(level_names) / legend_columns(level_names))
    return svg_of("level-history", partial(_paint_levels, history, level_names), height_in=2.7 + 0.25 * legend_rows)


def training_curves(curves: Sequence[Mapping[str, Any]]) -> str:
    """Log-loss (above) and validation accuracy (below) by epoch; the epoch of the lowest validation loss is marked.

    Each row: epoch, train_log_loss, validation_log_loss, validation_accuracy; a missing or None value leaves a gap.
    """
    refuse_empty("training_curves", curves)
    return svg_of("training", partial(_paint_training, curves), height_in=4.0)


def _paint_distribution(
    names: Sequence[str], counts: tuple[Sequence[float], Sequence[float]], later: str, figure: Figure
) -> None:
    axes = figure.subplots()
    colours, largest = level_colours(len(names)), max(max(map(float, series)) for series in counts)
    for series, offset, opacity in zip(counts, (0.2, -0.2), (0.4, 1.0), strict=True):
        heights = [level + offset for level in range(len(names))]
        axes.barh(heights, series, height=0.36, color=colours, alpha=opacity, edgecolor=INK, linewidth=OUTLINE)
        for height, value in zip(heights, series, strict=True):
            axes.text(value + largest * 0.015, height, f"{value:,.0f}", va="center", fontsize=10)
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set(xlim=(0, max(largest, 1) * 1.18), ylim=(-0.5, len(names) - 0.5))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    # Grey keys: pale and full mean the same for every level's colour.
    keys = [Patch(color=INK, alpha=0.25, label="now"), Patch(color=INK, alpha=0.65, label=later)]
    figure.legend(handles=keys, loc="outside lower center", ncols=2, handlelength=1.2)


def _paint_heat_map(
    names: Sequence[str], counts_KK: Sequence[Sequence[float]], titles: tuple[str, str], figure: Figure
) -> None:
    axes, num_levels = figure.subplots(), len(names)
    for row, counts_K in enumerate(counts_KK):
        total = sum(counts_K) or 1
        for column, count in enumerate(counts_K):
            _paint_cell(axes, (row, column), (float(count), float(count) / total), num_levels)
    axes.set(xlim=(-0.5, num_levels - 0.5), ylim=(num_levels - 0.5, -0.5), xlabel=titles[1], ylabel=titles[0])
    labels = [short(name) for name in names]
    # 45 characters of average width fit under the cells.
    tilt: dict[str, Any] = (
        {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if max(map(len, labels)) * num_levels > 45 else {}
    )
    axes.set_xticks(range(num_levels), labels, **tilt)
    axes.set_yticks(range(num_levels), labels)
    axes.tick_params(length=0, labelsize=10 if num_levels <= CROWDED else 8)
    axes.spines[:].set_visible(False)


def _paint_cell(axes: Axes, cell: tuple[int, int], count_and_share: tuple[float, float], num_levels: int) -> None:
    (row, column), (count, share) = cell, count_and_share
    opacity = 0.04 + 0.91 * share
    axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=HEAT, alpha=opacity, linewidth=0))
    if row == column:
        axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, fill=False, edgecolor=INK, linewidth=0.8))
    text = _cell_text(count, crowded=num_levels > CROWDED)
    font_size = 11 if num_levels <= 5 else max(6.5, 12 - 0.55 * num_levels)
    # Over a strong blue white is readable on both pages; over a pale one only the page's own ink is.
    colour = "#ffffff" if opacity > 0.72 else INK
    axes.text(column, row, text, ha="center", va="center", fontsize=font_size, color=colour)


def _cell_text(count: float, *, crowded: bool) -> str:
    """Write a count; among many levels the empty corners stay empty, so that the diagonal can be read."""
    if count >= 0.5:
        return compact(round(count))
    return "" if crowded else "<1" if count > 0 else "0"


def _heat_height_in(names: Sequence[str]) -> float:
    return 4.2 if len(names) <= CROWDED else 5.0


def _paint_calibration(points: Sequence[Mapping[str, Any]], figure: Figure) -> None:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
    for event, label, colour in CALIBRATED:
        curve = [point for point in points if point.get("event", ALL_LEVELS) == event]
        if not curve:
            continue
        x, y = [point["confidence"] for point in curve], [point["observed"] for point in curve]
        largest = max(point["count"] for point in curve) or 1
        axes.plot(x, y, color=colour, linewidth=1.6, label=label)
        axes.scatter(x, y, s=[12 + 70 * point["count"] / largest for point in curve], color=colour)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="predicted probability", ylabel="share that happened")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(True)
    legend_below(figure, axes, columns=3)


def _paint_spend(history: Sequence[tuple[dt.date, float]], currency: str, figure: Figure) -> None:
    axes = figure.subplots()
    days, amounts = [date2num(date) for date, _ in history], [float(amount) for _, amount in history]
    axes.plot(days, amounts, color=BLUE, linewidth=1.6, marker="o" if len(days) == 1 else None)
    axes.fill_between(days, amounts, color=BLUE, alpha=0.15, linewidth=0)
    axes.set_ylim(bottom=min(0.0, *amounts) * 1.05, top=max(0.0, *amounts) * 1.08 or 1.0)
    axes.set_ylabel(currency)
    _date_axis(axes, days)


def _paint_levels(history: Sequence[tuple[dt.date, Sequence[float]]], names: Sequence[str], figure: Figure) -> None:
    axes = figure.subplots()
    days = [date2num(date) for date, _ in history]
    counts_KT = [[float(counts_K[level]) for _, counts_K in history] for level in range(len(names))]
    if len(days) == 1:  # an area needs two dates to have a width
        days, counts_KT = [days[0] - 0.5, days[0] + 0.5], [counts * 2 for counts in counts_KT]
    labels = [short(name) for name in names]
    colours = level_colours(len(names))
    axes.stackplot(days, *counts_KT, colors=colours, labels=labels, edgecolor=INK, linewidth=OUTLINE)
    axes.set_ylabel("members")
    axes.set_ylim(bottom=0)
    _date_axis(axes, days)
    legend_below(figure, axes, columns=legend_columns(names))


def _date_axis(axes: Axes, days: Sequence[float]) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(_compact_tick))
    if len(days) > 1:
        axes.set_xlim(days[0], days[-1])
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)


def _compact_tick(value: float, _position: int | None) -> str:
    return compact(value)


def _paint_training(curves: Sequence[Mapping[str, Any]], figure: Figure) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    epochs = [row["epoch"] for row in curves]
    marker = "o" if len(epochs) == 1 else None
    for key, label, colour, axes in (
        ("train_log_loss", "training", BLUE, upper),
        ("validation_log_loss", "validation", ORANGE, upper),
        ("validation_accuracy", "accuracy on validation", GREEN, lower),
    ):
        axes.plot(epochs, _numbers(curves, key), color=colour, linewidth=1.6, marker=marker, label=label)
    best = min(zip(_numbers(curves, "validation_log_loss"), epochs, strict=True), key=_nan_last)
    if not math.isnan(best[0]):
        for axes in (upper, lower):
            axes.axvline(best[1], color=INK, alpha=0.5, linewidth=1, linestyle=(0, (2, 2)))
    upper.set_ylabel("log-loss")
    lower.set(xlabel="epoch", ylabel="accuracy")
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for axes in (upper, lower):
        axes.grid(True, axis="y")
    legend_below(figure, upper, columns=2)


def _numbers(curves: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [math.nan if row.get(key) is None else float(row[key]) for row in curves]


def _nan_last(loss_and_epoch: tuple[float, float]) -> tuple[bool, float]:
    return math.isnan(loss_and_epoch[0]), loss_and_epoch[0]
