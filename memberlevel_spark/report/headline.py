"""The first words of the report: what will happen, and how far to trust it.

In: ReportData. Out: sentences and tiles.
"""

import datetime as dt
from dataclasses import dataclass

from memberlevel_spark.report.formats import count, day, is_missing, percent, whole_money
from memberlevel_spark.report.model import ReportData


@dataclass(frozen=True)
class Tile:
    """One large number with its words."""

    value: str
    words: str


def headline(data: ReportData) -> list[str]:
    """Say in a few sentences what a manager needs: the top level, the movers, the money, the forecast's record."""
    return [_top_level_sentence(data), _movers_sentence(data), *_spend_sentences(data), _record_sentence(data)]


def tiles(data: ReportData) -> list[Tile]:
    """Return the four numbers to remember: members, moves up, moves down, share predicted right."""
    up, down = expected_moves(data)
    return [
        Tile(count(sum(data.level_counts_now)), f"members on {day(data.as_of_date)}"),
        Tile(count(up), f"expected to move up in {data.horizon_days} days"),
        Tile(count(down), f"expected to move down in {data.horizon_days} days"),
        Tile(percent(_accuracy(data, "model")), f"predicted right on the test date ({day(data.test_as_of)})"),
    ]


def expected_moves(data: ReportData) -> tuple[float, float]:
    """Expected members moving up and moving down: the mass above and below the diagonal of the migration matrix."""
    cells = [(row, column, float(n)) for row, ns in enumerate(data.migration) for column, n in enumerate(ns)]
    up = sum(n for row, column, n in cells if column > row)
    return up, sum(n for row, column, n in cells if column < row)


def _top_level_sentence(data: ReportData) -> str:
    now, expected = data.level_counts_now[-1], data.level_counts_expected[-1]
    return (
        f"In {data.horizon_days} days we expect {count(expected)} of {count(sum(data.level_counts_now))} members "
        f"to hold {data.level_names[-1]} (now {count(now)})."
    )


def _movers_sentence(data: ReportData) -> str:
    up, down = expected_moves(data)
    return f"About {count(up)} will move up and {count(down)} down; the others keep their level."


def _spend_sentences(data: ReportData) -> list[str]:
    """What is expected to be spent beside what was spent in as many days before; none where nothing is expected."""
    expected = [row["total"] for row in data.expected if row["quantity"] == "spend_cents"]
    if not expected or is_missing(expected[0]):
        return []
    said = f"Together they are expected to spend {whole_money(expected[0], data.currency)}"
    before = _spent_before(data)
    if before is None:
        return [f"{said}."]
    return [f"{said}; in the {data.horizon_days} days before it was {whole_money(before, data.currency)}."]


def _spent_before(data: ReportData) -> int | None:
    """Spend of the horizon's length up to the as-of date; None unless whole weeks of the history add up to it."""
    num_weeks, rest = divmod(data.horizon_days, 7)
    weeks = [data.as_of_date - dt.timedelta(days=7 * back) for back in range(num_weeks)]
    spent = dict(data.spend_history)
    return None if rest or any(week not in spent for week in weeks) else sum(spent[week] for week in weeks)


def _record_sentence(data: ReportData) -> str:
    model, stays = _accuracy(data, "model"), _accuracy(data, "persistence")
    if model is None or is_missing(model):
        return "How often the model is right could not be measured in this run."
    record = f"Tested on {count(data.num_members)} members, the model is right for {percent(model)} of them"
    if stays is None or is_missing(stays):
        return f"{record}."
    compared = f"assuming that everyone stays as they are, for {percent(stays)}"
    return f"{record}; {compared}." if model > stays else f"{record}, which is no better than {compared}."


def _accuracy(data: ReportData, forecaster: str) -> float | None:
    return data.metrics.get(forecaster, {}).get("accuracy")
