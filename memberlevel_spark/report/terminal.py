"""The short plain-text table a run ends with. In: forecaster -> metric -> value. Out: one string, no colour codes."""

from memberlevel_spark.report.formats import decimal
from memberlevel_spark.report.scoreboard import Metrics, score_rows


def result_table(metrics: Metrics) -> str:
    """Write metrics (rows) by forecaster (columns) in aligned plain text; ``*`` marks the best value of a row.

    Columns keep the order of ``metrics``; "n/a" stands for a metric that is undefined on the data.
    """
    if not metrics:
        return "No forecast was evaluated."
    header = ["metric", "better", *(key.replace("_", " ") for key in metrics)]
    lines = [header]
    for row in score_rows(metrics):
        values = [decimal(forecast.get(row.name)) for forecast in metrics.values()]
        marks = ["*" if cell.best else " " for cell in row.cells]
        lines.append(
            [row.name, row.words.better, *(f"{value} {mark}" for value, mark in zip(values, marks, strict=True))]
        )
    return "\n".join([*_aligned(lines), "* best of its row"])


def _aligned(lines: list[list[str]]) -> list[str]:
    # Headings end where the digits end: two columns left of the mark.
    lines = [[*lines[0][:2], *(f"{heading}  " for heading in lines[0][2:])], *lines[1:]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
