"""The short plain-text tables a run ends with: what became of the rows, and how good the forecasts are.

In: stage records; forecaster -> metric -> value. Out: one string each, no colour codes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from memberlevel_spark.report.formats import count, decimal
from memberlevel_spark.report.scoreboard import Metrics, score_rows


def result_table(metrics: Metrics) -> str:
    """Write metrics (rows) by forecaster (columns) in aligned plain text; ``*`` marks the best value of a row.

    Columns keep the order of ``metrics``; "n/a" stands for a metric that is undefined on the data. Metrics in depth are
    left to the report.
    """
    if not metrics:
        return "No forecast was evaluated."
    # Headings end where the digits end: two columns left of the mark.
    header = ["metric", "better", *(f"{key.replace('_', ' ')}  " for key in metrics)]
    lines = [header]
    for row in (row for row in score_rows(metrics) if not row.words.in_depth):
        values = [decimal(forecast.get(row.name)) for forecast in metrics.values()]
        marks = ["*" if cell.best else " " for cell in row.cells]
        lines.append(
            [row.name, row.words.better, *(f"{value} {mark}" for value, mark in zip(values, marks, strict=True))]
        )
    return "\n".join([*_columns(lines, num_left=2), "* best of its row"])


def reach_table(reach: Mapping[str, Mapping[str, float | None]]) -> str:
    """Log-loss of each forecast in a shop whose truth is known, and its share of the gain that can be reached."""
    lines = [["forecast", "log-loss", "share of reachable gain"]]
    lines += [
        [name.replace("_", " "), decimal(found["log_loss"]), decimal(found["share"])] for name, found in reach.items()
    ]
    return "\n".join(_columns(lines))


ACCOUNT = {
    "in": "rows_in",
    "out": "rows_out",
    "quarantined": "quarantined",
    "duplicates": "duplicates",
    "filtered": "filtered",
    "late": "late",
    "folded": "aggregated",
}


def accounting_table(records: Sequence[Mapping[str, Any]]) -> str:
    """What became of every row, a line for each stage that has rows: ``in`` is the sum of all columns after it.

    ``folded`` are rows that became part of others, such as events of a day.
    """
    header = ["stage", *ACCOUNT]
    lines = [
        [str(record["stage"]), *(count(record[name]) if record[name] else "-" for name in ACCOUNT.values())]
        for record in records
        if record["rows_in"]
    ]
    return "\n".join(_columns([header, *lines]))


def _columns(lines: list[list[str]], num_left: int = 1) -> list[str]:
    """The first ``num_left`` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < num_left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
