"""Turn a run's results into one HTML file that opens offline, on a phone and on a desk, in a light and a dark room.

In: ReportData. Out: the page as a string; the same data gives the same bytes.

A new section is one template in ``templates/`` and one line in ``SECTIONS``. Names from the data (shops, members,
levels) are escaped by Jinja; the page carries no script and forbids the browser every request.
"""

import re
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from memberlevel_spark.report import formats
from memberlevel_spark.report.figures import report_figures
from memberlevel_spark.report.group_figures import group_figures
from memberlevel_spark.report.headline import headline, tiles
from memberlevel_spark.report.matured import tenth_rows
from memberlevel_spark.report.model import ReportData, Row
from memberlevel_spark.report.scoreboard import forecaster_label, score_rows
from memberlevel_spark.report.watching import in_words
from memberlevel_spark.scoring.topics import spoken


@dataclass(frozen=True)
class Section:
    """One part of the page: its anchor, its heading and the template that fills it."""

    anchor: str
    heading: str
    template: str


SECTIONS = (
    Section("forecast", "How good is the forecast?", "forecast.html"),
    Section("changes", "What changed since the last run", "changes.html"),
    Section("history", "How we got here", "history.html"),
    Section("levels", "Levels and moves ahead", "levels.html"),
    Section("expected", "What members are expected to do", "expected.html"),
    Section("movers", "Who is likely to move", "movers.html"),
    Section("tips", "What would tip members", "tips.html"),
    Section("trust", "Can the probabilities be trusted?", "trust.html"),
    Section("came-true", "Did it come true?", "came_true.html"),
    Section("fairness", "Is it as good for every group?", "fairness.html"),
    Section("training", "How the model learnt", "training.html"),
    Section("quality", "Data quality", "quality.html"),
    Section("monitoring", "Alerts and health", "monitoring.html"),
    Section("drift", "Drift", "drift.html"),
    Section("caveats", "Caveats", "caveats.html"),
    Section("versions", "Versions", "versions.html"),
)


def render_report(data: ReportData) -> str:
    """Render the whole page as one string of HTML, with styles and figures inside."""
    page = _environment(data).get_template("report.html")
    return page.render(
        data=data,
        sections=SECTIONS,
        sentences=headline(data),
        tiles=tiles(data),
        figures=report_figures(data),
        group_figures=group_figures(data),
        score_rows=score_rows(data.metrics),
        tenth_rows=tenth_rows(data.came_true_tenths),
    )


def _environment(data: ReportData) -> Environment:
    environment = Environment(
        loader=PackageLoader("memberlevel_spark.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_or_not_available,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "whole": formats.count,
        "decimal": formats.decimal,
        "percent": formats.percent,
        "day": formats.day,
        "free_value": formats.free_value,
        "forecaster": forecaster_label,
        "level": lambda level: formats.level_name(level, data.level_names),
        "money": lambda minor_units: formats.money(minor_units, data.currency),
        "whole_money": lambda minor_units: formats.whole_money(minor_units, data.currency),
        "breakable": _breakable,
        "spoken": spoken,
        "amount": lambda value, metric: _amount(value, metric, data),
        "metric_words": in_words,
        "change": lambda row: _change(row, data),
        "level_metric": lambda value: _level_metric(value, data),
    }
    return environment


def _or_not_available(value: object) -> object:
    return formats.NOT_AVAILABLE if value is None else value


def _breakable(name: str | None) -> Markup:
    """Let a long name break after its underscores and slashes; everything in it is escaped."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/])", formats.NOT_AVAILABLE if name is None else name))


def _change(row: Row, data: ReportData) -> str:
    """Write the difference of a headline number, with its sign."""
    if formats.is_missing(row["before"]) or formats.is_missing(row["now"]):
        return formats.NOT_AVAILABLE
    difference = row["now"] - row["before"]
    if row["number"] == "spend_cents":
        return f"{'+' if difference > 0 else ''}{formats.whole_money(difference, data.currency)}"
    # Rounded first: what is shown as no difference has no sign.
    return f"{round(difference):+,}" if round(difference) else "0"


def _amount(value: float | None, metric: str, data: ReportData) -> str:
    """Write an amount of a metric of the level programme."""
    return formats.money(value, data.currency) if metric.endswith("_cents") else formats.count(value)


def _level_metric(value: float | None, data: ReportData) -> str:
    """Write an amount of what earns a level here: money, or a plain number of orders, points and the like."""
    return formats.money(value, data.currency) if data.level_metric_is_money else formats.count(value)
