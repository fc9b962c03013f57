"""One look for all figures: level colours, ink that follows the page, and SVG text that is the same in every run.

In: a function that paints on an empty figure. Out: the figure as an SVG string to put inside an HTML page.

The ink (text, axes) is ``currentColor``, so a figure is readable on a light and on a dark page; the background is
transparent. Figures are drawn 360 units wide, about the width of a phone, so that text keeps its size there.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from memberlevel_spark.errors import DataQualityError

WIDTH_IN = 5.0
# matplotlib knows no `currentColor`: everything painted in this stand-in is renamed afterwards.
INK = "#0b0c0d"
BLUE, ORANGE, GREEN = "#3a87c8", "#d9822b", "#2a9d76"  # apart in hue and lightness for all common colour blindness
# The lightest level vanishes on a light page and the darkest on a dark one: a thin line of ink around them does not.
OUTLINE = 0.5
LONGEST_NAME = 14

STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a level may be called "$$VIP$$"
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def svg_of(name: str, paint: Callable[[Figure], None], *, height_in: float) -> str:
    """Paint a figure and return it as one ``<svg>`` element, byte for byte the same for the same data.

    ``name`` keeps the ids of two figures on one page apart. No date, no random id, no fixed width: CSS sets the size.
    """
    with _styled(name):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _embeddable(buffer.getvalue())


def png_of(paint: Callable[[Figure], None], *, height_in: float) -> bytes:
    """Paint a figure and return it as a PNG file on white, the same bytes for the same data."""
    with _styled("png"):
        figure = Figure(figsize=(1.5 * WIDTH_IN, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        buffer = io.BytesIO()
        # The default metadata names the version of matplotlib.
        figure.savefig(buffer, format="png", dpi=120, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


@contextmanager
def _styled(name: str) -> Iterator[None]:
    # Starting from matplotlib's defaults makes the result independent of a matplotlibrc on the machine.
    with mpl.style.context({**STYLE, "svg.hashsalt": name}, after_reset=True), warnings.catch_warnings():
        # Names in scripts that the measuring font lacks are drawn by the browser's font, so the warning is idle.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def level_colours(num_levels: int) -> list[str]:
    """Return one colour per level, dark to light: viridis, made for colour-blind readers, without its two ends.

    The ends are left out because they vanish on a dark or on a light page.
    """
    viridis = mpl.colormaps["viridis"]
    return [to_hex(viridis(0.28 + 0.62 * level / max(num_levels - 1, 1))) for level in range(num_levels)]


def short(name: str) -> str:
    """Cut a long level name for an axis in its middle, as names often differ at the end; tables show it in full."""
    return name if len(name) <= LONGEST_NAME else f"{name[:7]}…{name[7 - LONGEST_NAME + 1 :]}"


def legend_columns(names: Sequence[str]) -> int:
    """How many legend entries fit side by side on one figure: at most four, fewer with long names."""
    longest = max(len(short(name)) for name in names)
    return max(1, min(4, len(names), 52 // (longest + 5)))


def compact(value: float) -> str:
    """Write a number in at most about five characters: 0.5, 950, 9,870, 12.3k, 4.5M."""
    size = abs(value)
    if size >= 999_950:
        return f"{value / 1e6:,.1f}".removesuffix(".0") + "M"
    if size >= 10_000:
        return f"{value / 1e3:.{0 if size >= 99_950 else 1}f}".removesuffix(".0") + "k"
    return f"{value:,.0f}" if size >= 10 or value == round(value) else f"{value:.1f}"


def refuse_empty(name: str, rows: Sequence[object]) -> None:
    """Refuse to draw a figure without data.

    Raises:
        DataQualityError: there is no row.
    """
    if len(rows) == 0:
        raise DataQualityError(f"Nothing to draw: {name} is empty. Leave the figure out.")


def legend_below(figure: Figure, axes: Axes, *, columns: int) -> None:
    """Put the legend under the axes, where it cannot cover data on a narrow figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=1.2, columnspacing=1.2)


def _embeddable(document: str) -> str:
    """Reduce an SVG file to an element for an HTML page: no prolog, no metadata, no page-wide style, no idle ids."""
    svg = document[document.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # only <path> and <clipPath> ids are referred to
    svg = re.sub(r'(<text style="[^"]*?)font-family: [^;"]*; ', r"\1", svg)  # the page chooses the typeface
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', _ROOT, svg, count=1)
    return svg.replace(INK, "currentColor")


_ROOT = (
    r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" \1'
    r' style="stroke-linejoin: round; stroke-linecap: butt">'
)
