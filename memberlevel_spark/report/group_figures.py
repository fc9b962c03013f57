"""The report's figures of protected groups: what level is expected of each, and which one it was.

In: ReportData. Out: name of the attribute -> figure; attributes of whose groups none could be judged are absent.
"""

from memberlevel_spark.evaluation import outcome_plots
from memberlevel_spark.report.drawing import ReportFigure, described, listed
from memberlevel_spark.report.formats import day, decimal
from memberlevel_spark.report.model import ReportData, Row


def group_figures(data: ReportData) -> dict[str, ReportFigure]:
    """Draw one figure per protected attribute."""
    rows: dict[str, list[Row]] = {}
    for row in data.groups:
        if row["expected_level"] is not None:
            rows.setdefault(row["attribute"], []).append(row)
    return {name: _levels(data, place, name, of_name) for place, (name, of_name) in enumerate(rows.items())}


def _levels(data: ReportData, place: int, attribute: str, rows: list[Row]) -> ReportFigure:
    told = listed(
        f"{row['group']} {decimal(row['expected_level'], 2)} expected, {decimal(row['realised_level'], 2)} realised"
        for row in rows
    )
    caption = f"Test of {day(data.test_as_of)}: mean level by {attribute}, expected and realised; 0 is the lowest."
    drawing = outcome_plots.group_levels(str(place), rows)
    return described(drawing, f"Dots of the mean level by {attribute}: {told}.", caption)
