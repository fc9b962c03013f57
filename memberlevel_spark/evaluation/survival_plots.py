"""The figure of how long levels are held.

In: steps of a survival curve per level. Out: one ``<svg>`` element (see ``plot_style``).
"""

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter

from memberlevel_spark.evaluation.plot_style import (
    INK,
    OUTLINE,
    legend_below,
    legend_columns,
    level_colours,
    refuse_empty,
    short,
    svg_of,
)

# Days and shares of one curve; the last day is where its last ongoing spell is.
Curve = tuple[Sequence[int], Sequence[float]]


def level_survival(curves: Sequence[Curve | None], level_names: Sequence[str]) -> str:
    """Share of spells on each level that last longer than so many days; None where nobody held a level."""
    refuse_empty("level_survival", [curve for curve in curves if curve])
    legend_rows = math.ceil(len(level_names) / legend_columns(level_names))
    return svg_of("level-survival", partial(_paint, curves, level_names), height_in=2.7 + 0.25 * legend_rows)


def _paint(curves: Sequence[Curve | None], names: Sequence[str], figure: Figure) -> None:
    axes, width = figure.subplots(), 1.8
    outline = [withStroke(linewidth=width + 2 * OUTLINE, foreground=INK)]
    for curve, name, colour in zip(curves, names, level_colours(len(names)), strict=True):
        if curve:
            axes.step(*curve, where="post", color=colour, linewidth=width, label=short(name), path_effects=outline)
    axes.set(ylim=(0, 1.02), xlabel="days on the level", ylabel="still on it")
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(True, axis="y")
    legend_below(figure, axes, columns=legend_columns(names))
