"""The report's figures, each with a text that says the same to someone who cannot see it.

In: ReportData. Out: name -> figure; a figure whose data is empty is absent, and the page says so in words.
"""

from collections.abc import Iterable
from itertools import pairwise

from memberlevel_spark.evaluation import plots
from memberlevel_spark.evaluation.survival_plots import level_survival
from memberlevel_spark.report.drawing import ReportFigure, described, listed
from memberlevel_spark.report.formats import count, day, decimal, minor_digits, percent
from memberlevel_spark.report.matured import matured_figures
from memberlevel_spark.report.model import ReportData, Row
from memberlevel_spark.report.outcome_figures import level_points, outcome_figures, told_points


def report_figures(data: ReportData) -> dict[str, ReportFigure]:
    """Draw every figure the data allows."""
    makers = {
        "distribution": _distribution,
        "migration": _migration,
        "confusion": _confusion,
        "calibration": _calibration if level_points(data) else None,
        "spend_history": _spend_history if data.spend_history else None,
        "level_history": _level_history if data.level_history else None,
        "level_survival": _level_survival if any(row["days"] for row in data.survival) else None,
        "training": _training if data.training_curves else None,
    }
    return {name: make(data) for name, make in makers.items() if make} | outcome_figures(data) | matured_figures(data)


def _distribution(data: ReportData) -> ReportFigure:
    svg = plots.level_distribution(
        data.level_names,
        data.level_counts_now,
        counts_expected_K=data.level_counts_expected,
        horizon_days=data.horizon_days,
    )
    rows = zip(data.level_names, data.level_counts_now, data.level_counts_expected, strict=True)
    told = listed(f"{name} {count(now)} now and {count(later)} expected" for name, now, later in rows)
    caption = f"Members per level on {day(data.as_of_date)} and expected {data.horizon_days} days later."
    return described(svg, f"Bar chart of members per level: {told}.", caption)


def _migration(data: ReportData) -> ReportFigure:
    rows = zip(data.level_names, data.migration, strict=True)
    told = listed(f"of {count(sum(ns))} on {name} {_split(data, ns)}" for name, ns in rows)
    caption = "Expected number of members by level now and level then. The outlined diagonal keeps its level."
    return described(plots.migration_heat_map(data.level_names, data.migration), f"Heat map of moves: {told}.", caption)


def _confusion(data: ReportData) -> ReportFigure:
    rows = zip(data.level_names, data.confusion, strict=True)
    told = listed(f"of {count(sum(ns))} who held {name} were predicted {_split(data, ns)}" for name, ns in rows)
    caption = f"Test of {day(data.test_as_of)}: realised against predicted level. The outlined diagonal is right."
    return described(
        plots.confusion_heat_map(data.level_names, data.confusion), f"Heat map of hits and misses: {told}.", caption
    )


def _calibration(data: ReportData) -> ReportFigure:
    points = level_points(data)
    caption = (
        "Levels: predicted probability against what happened on the test date. On the dashed line both agree; the"
        " larger a dot, the more members it stands for."
    )
    return described(plots.calibration_curve(points), f"Calibration curve: {told_points(points)}.", caption)


def _spend_history(data: ReportData) -> ReportFigure:
    minor_in_major = 10 ** minor_digits(data.currency)
    history = [(date, amount / minor_in_major) for date, amount in data.spend_history]
    (first, start), (last, end) = history[0], history[-1]
    told = f"Line chart from {day(first)} to {day(last)}: from {count(start)} to {count(end)} {data.currency}."
    return described(
        plots.spend_history(history, currency=data.currency), told, f"Net spend of all members{_pace(data)}."
    )


def _pace(data: ReportData) -> str:
    """Say what one point of the spend line covers, when the dates are evenly spaced days or weeks."""
    dates = [date for date, _ in data.spend_history]
    gaps = {(later - earlier).days for earlier, later in pairwise(dates)}
    return {frozenset({1}): " per day", frozenset({7}): " per week"}.get(frozenset(gaps), "")


def _level_history(data: ReportData) -> ReportFigure:
    (first, before), (last, after) = data.level_history[0], data.level_history[-1]
    rows = zip(data.level_names, before, after, strict=True)
    told = listed(f"{name} from {count(start)} to {count(end)}" for name, start, end in rows)
    svg = plots.level_history(data.level_history, data.level_names)
    return described(
        svg, f"Members per level from {day(first)} to {day(last)}: {told}.", "Members on each level over time."
    )


def _level_survival(data: ReportData) -> ReportFigure:
    by_level = {row["level"]: row for row in data.survival if row["days"]}
    curves = [
        (by_level[level]["days"], by_level[level]["shares"]) if level in by_level else None
        for level in range(len(data.level_names))
    ]
    told = listed(f"{data.level_names[level]} {_told_median(row)}" for level, row in by_level.items())
    caption = "Share of those who reach a level that hold it longer than so many days (Kaplan-Meier)."
    return described(level_survival(curves, data.level_names), f"Survival curves of levels: {told}.", caption)


def _told_median(row: Row) -> str:
    if row["median_days"] is not None:
        return f"half are gone after {count(row['median_days'])} days"
    return f"{percent(row['shares'][-1])} hold it longer than {count(row['days'][-1])} days"


def _training(data: ReportData) -> ReportFigure:
    last = data.training_curves[-1]
    told = (
        f"Training curves up to epoch {last['epoch']}: log-loss {decimal(last['train_log_loss'])} in training and "
        f"{decimal(last['validation_log_loss'])} in validation, accuracy {percent(last['validation_accuracy'])}."
    )
    caption = (
        "Log-loss and accuracy while the model learnt. The dotted line is the epoch of the lowest validation loss."
    )
    return described(plots.training_curves(data.training_curves), told, caption)


def _split(data: ReportData, counts: Iterable[float]) -> str:
    return ", ".join(f"{count(n)} {name}" for name, n in zip(data.level_names, counts, strict=True))
