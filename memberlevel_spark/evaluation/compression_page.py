"""What the job compress measured, as a Markdown table and as a figure; no Spark.

In: one measurement per network, the first of the model as it is. Out: text; the bytes of a PNG.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

QUALITY = ("log_loss", "accuracy", "macro_f1", "upgrade_auc", "spend_mae")
COLUMNS = ("network", "kB", "kB zstd", "zeros", "network rows/s", "scored rows/s", "same level", "mean gap", *QUALITY)
MARKERS = "osD^v<>Phd"


@dataclass(frozen=True)
class Measured:
    """What one network takes, and what it gives on the test date."""

    name: str
    num_bytes: int  # of the file of weights
    num_bytes_zstd: int  # of the same, compressed
    share_of_zeros: float  # of the weights
    network_rows_per_second: float  # the network alone
    scored_rows_per_second: float  # and with it what is read off its distributions, such as the quantiles of spend
    same_level_share: float  # of members, those whose likeliest level is the whole model's
    mean_gap: float  # mean |P(level) - the whole model's|, over members and levels
    metrics: Mapping[str, float | None]


def compression_page(measured: Sequence[Measured], *, test_as_of: date) -> str:
    """Write the table, with a word on how to read it."""
    lines = [
        f"# Smaller networks, judged as of {test_as_of}",
        "",
        "Rows/s are those of one thread on the machine that ran the job: of the network alone, and of all that a score",
        "takes. `same level` and `mean gap`, that of P(level), are against the first line.",
        "",
        _line(COLUMNS),
        _line(["---", *["---:"] * (len(COLUMNS) - 1)]),
        *(_line(_cells(each)) for each in measured),
        "",
        "![rows/s against log-loss](compression.png)",
        "",
    ]
    return "\n".join(lines)


def compression_plot(measured: Sequence[Measured]) -> bytes:
    """Draw each network's rows/s against its log-loss; the lower and the farther right, the better."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, each in enumerate(measured):
        loss = each.metrics["log_loss"]
        assert loss is not None
        label = f"{each.name}, {each.num_bytes / 1000:.0f} kB"
        marker = MARKERS[number % len(MARKERS)]
        axes.scatter(each.network_rows_per_second, loss, s=50, marker=marker, label=label)
    axes.set(title="Smaller networks", xlabel="rows/s of the network, one thread", ylabel="log-loss (nats)")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    image = io.BytesIO()
    # The default metadata names the version of matplotlib; the bytes shall depend on the numbers only.
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    return image.getvalue()


def _cells(each: Measured) -> list[str]:
    quality = [each.metrics.get(name) for name in QUALITY]
    return [
        each.name,
        f"{each.num_bytes / 1000:.1f}",
        f"{each.num_bytes_zstd / 1000:.1f}",
        f"{each.share_of_zeros:.1%}",
        f"{each.network_rows_per_second:,.0f}",
        f"{each.scored_rows_per_second:,.0f}",
        f"{each.same_level_share:.2%}",
        f"{each.mean_gap:.5f}",
        *("n/a" if value is None else f"{value:.4f}" for value in quality),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
