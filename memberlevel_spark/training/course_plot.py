"""A picture of how something went on: a figure with whole numbers along the bottom, as a PNG.

In: what paints the lines. Out: bytes that depend on them alone.
"""

import io
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def course_png(paint: Callable[[Axes], None], *, xlabel: str, ylabel: str, title: str) -> bytes:
    """Draw what ``paint`` puts on the axes, with a legend of its labels."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    paint(axes)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    axes.grid(alpha=0.3)
    image = io.BytesIO()
    # The default metadata names the version of matplotlib; the bytes shall depend on what is drawn only.
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    return image.getvalue()
