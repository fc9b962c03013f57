"""The figures and the rows of the report's part on forecasts whose labels are mature.

In: ReportData. Out: name -> figure, absent where nothing has matured; rows ready to print.
"""

from collections.abc import Sequence

from memberlevel_spark.evaluation import plots
from memberlevel_spark.report.drawing import ReportFigure, described, listed
from memberlevel_spark.report.formats import count, day
from memberlevel_spark.report.model import MaturedMoves, ReportData, Row

# By what members are ordered -> the two metrics of each tenth, as the table ``outcomes`` names them.
TENTHS = {
    "tenth of p_up": ("predicted_share", "observed_share"),
    "tenth of p_down": ("predicted_share", "observed_share"),
    "tenth of p_churn": ("predicted_share", "observed_share"),
    "tenth of expected_spend": ("expected_spend", "realised_spend"),
}


def matured_figures(data: ReportData) -> dict[str, ReportFigure]:
    """The moves that were expected beside those that were made."""
    if data.moves is None:
        return {}
    return {
        "moves_expected": _moves(data, data.moves, "expected", data.moves.expected),
        "moves_realised": _moves(data, data.moves, "realised", data.moves.realised),
    }


def tenth_rows(tenths: Sequence[Row]) -> list[tuple[str, list[float | None]]]:
    """The tenths in order, each with the values of ``TENTHS``; None where members were fewer than ten."""
    found = {(row["dimension"], row["slice"], row["metric"]): row["value"] for row in tenths}
    places = sorted({row["slice"] for row in tenths})
    columns = [(dimension, metric) for dimension, metrics in TENTHS.items() for metric in metrics]
    return [(place, [found.get((dimension, place, metric)) for dimension, metric in columns]) for place in places]


def _moves(data: ReportData, moves: MaturedMoves, word: str, counts_KK: Sequence[Sequence[float]]) -> ReportFigure:
    rows = zip(data.level_names, counts_KK, strict=True)
    told = listed(
        f"of {count(sum(ns))} on {name} "
        + ", ".join(f"{count(n)} {then}" for n, then in zip(ns, data.level_names, strict=True))
        for name, ns in rows
    )
    titles = (f"level on {day(moves.as_of_date)}", f"{word} level {data.horizon_days} days later")
    svg = plots.moves_heat_map(data.level_names, counts_KK, name=f"moves-{word}", titles=titles)
    caption = (
        f"As of {day(moves.as_of_date)}: {word} number of members by level then and {data.horizon_days} days later."
    )
    return described(svg, f"Heat map of {word} moves: {told}.", caption)
