"""The report's figures of orders, spend and churn: what the forecast is good for, and what is expected.

In: ReportData. Out: name -> figure; a figure whose data is empty is absent, and the page says so in words.
"""

from collections.abc import Sequence
from statistics import mean

from memberlevel_spark.evaluation import outcome_plots, plots
from memberlevel_spark.evaluation.calibration import CHURNS
from memberlevel_spark.report.drawing import ReportFigure, described, listed
from memberlevel_spark.report.formats import count, day, minor_digits, percent
from memberlevel_spark.report.model import ReportData, Row
from memberlevel_spark.report.scoreboard import forecaster_label

# What is looked for among the members, by event: in words, as a caption, and on the axis.
GAINS = {
    "churn": (
        "members without an order",
        "How many of those who placed no order are among the first of the list",
        "share of those without an order",
    ),
    "upgrade": (
        "members who moved up",
        "How many of those who moved up are among the first of the list",
        "share of those who moved up",
    ),
    "spend": ("the spend", "How much of all spend the first of the list brought", "share of all spend"),
}
TOLD_SHARES = (0.1, 0.2, 0.5)


def outcome_figures(data: ReportData) -> dict[str, ReportFigure]:
    """Draw every one of them that the data allows."""
    gains = {f"gain_{event}": _gain(data, event) for event in GAINS}
    figures = {
        "churn_calibration": _churn_calibration(data) if churn_points(data) else None,
        **gains,
        "spend_tenths": _spend_tenths(data) if data.spend_tenths else None,
        "churn_chances": _churn_chances(data) if data.churn_counts else None,
        "spend_ranges": _spend_ranges(data) if data.spend_ranges else None,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def level_points(data: ReportData) -> list[Row]:
    """The points of the calibration curves of levels."""
    return [point for point in data.reliability if point.get("event") != CHURNS]


def churn_points(data: ReportData) -> list[Row]:
    """The points of the calibration curve of P(no order)."""
    return [point for point in data.reliability if point.get("event") == CHURNS]


def told_points(points: Sequence[Row]) -> str:
    """The points of a calibration curve in words."""
    return listed(
        f"{percent(point['confidence'])} predicted, {percent(point['observed'])} happened" for point in points
    )


def _churn_calibration(data: ReportData) -> ReportFigure:
    points = churn_points(data)
    caption = (
        "Chance of no order against the share that placed none. On the dashed line both agree; the larger a dot, the"
        " more members it stands for."
    )
    svg = plots.calibration_curve(points, name="churn-calibration")
    return described(svg, f"Calibration curve of no order: {told_points(points)}.", caption)


def _gain(data: ReportData, event: str) -> ReportFigure | None:
    """The model beside the rival that captures most on average over the curve; None without anything to capture."""
    known = {row["forecaster"]: row for row in data.gains if row["event"] == event and row["captured"] is not None}
    if "model" not in known:
        return None
    rivals = sorted((name for name in known if name != "model"), key=lambda name: -mean(known[name]["captured"]))
    shown = {forecaster_label(name): known[name] for name in ("model", *rivals[:1])}
    what, asked, axis = GAINS[event]
    told = listed(f"{name}: {_told_curve(row)}" for name, row in shown.items())
    curves = {name: (row["contacted"], row["captured"]) for name, row in shown.items()}
    beside = f", beside {forecaster_label(rivals[0])}, the best of the others" if rivals else ""
    caption = f"{asked}: the model{beside}."
    return described(outcome_plots.gain_curves(event, curves, found=axis), f"Gain curve of {what}. {told}.", caption)


def _told_curve(row: Row) -> str:
    points = list(zip(row["contacted"], row["captured"], strict=True))
    nearest = [min(points, key=lambda point: abs(point[0] - share)) for share in TOLD_SHARES]
    return ", ".join(f"{percent(y)} in the first {percent(x)}" for x, y in dict.fromkeys(nearest))


def _spend_tenths(data: ReportData) -> ReportFigure:
    told = listed(f"{count(row['expected'])} expected, {count(row['realised'])} spent" for row in data.spend_tenths)
    caption = f"Test of {day(data.test_as_of)}: spend of each tenth of members, expected and realised."
    return described(
        outcome_plots.spend_by_tenths(data.spend_tenths, currency=data.currency),
        f"Bar chart of spend in {data.currency} by tenths of members, lowest expectation first: {told}.",
        caption,
    )


def _churn_chances(data: ReportData) -> ReportFigure:
    step = 1 / len(data.churn_counts)
    told = listed(
        f"{count(number)} from {percent(place * step)} to {percent((place + 1) * step)}"
        for place, number in enumerate(data.churn_counts)
    )
    caption = f"Members by their chance to place no order in {data.horizon_days} days."
    return described(outcome_plots.chance_histogram(data.churn_counts), f"Histogram of members: {told}.", caption)


def _spend_ranges(data: ReportData) -> ReportFigure:
    minor_in_major = 10 ** minor_digits(data.currency)
    tenths = [
        {name: row[f"{name}_cents"] / minor_in_major for name in ("expected", "low", "high")}
        for row in data.spend_ranges
    ]
    told = listed(f"{count(row['expected'])}, from {count(row['low'])} to {count(row['high'])}" for row in tenths)
    caption = (
        f"Expected spend per member in {data.horizon_days} days, by tenths of members. The line runs from the mean 10 %"
        " to the mean 90 % forecast."
    )
    return described(
        outcome_plots.spend_ranges(tenths, currency=data.currency),
        f"Bar chart of expected spend per member in {data.currency}, lowest tenth of members first: {told}.",
        caption,
    )
