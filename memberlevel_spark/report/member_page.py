"""One member on one page of plain text: what is expected, why, and what would tip them.

In: the member's rows of ``member_scores``, ``member_reasons`` and ``member_advice`` as mappings. Out: a string.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memberlevel_spark.config import Config
from memberlevel_spark.report.formats import count, day, money, percent
from memberlevel_spark.scoring.topics import spoken

Row = Mapping[str, Any]
OUTCOMES = {"up": "move up", "down": "move down", "buy": "place an order"}
NUM_REASONS = 5


@dataclass(frozen=True)
class Programme:
    """The shop's words: level names and benefits lowest first, currency, and when the forecast is about."""

    level_names: Sequence[str]
    benefits: Sequence[Sequence[str]]
    currency: str
    label_date: dt.date
    likely: float

    @classmethod
    def of(cls, config: Config, as_of: dt.date) -> "Programme":
        """As configured, for a forecast as of a date."""
        levels = config.levels.programme
        return cls(
            level_names=[level.name for level in levels],
            benefits=[level.benefits for level in levels],
            currency=config.money.currency,
            label_date=config.timeline.label.label_date(as_of),
            likely=config.scoring.likely,
        )


def forecast_page(score: Row, programme: Programme) -> str:
    """What is expected of the member, alone."""
    return _plain(_forecast(score, programme))


def member_page(score: Row, reasons: Row | None, advice: Sequence[Row], programme: Programme) -> str:
    """The page. Without reasons, which may be kept for some members only, it says so."""
    parts = [_forecast(score, programme)]
    if reasons is None:
        parts.append("Reasons and advice are not kept for this member: scoring.reasons_share is below 1.")
    else:
        parts += [_reasons(reasons, outcome, programme) for outcome in OUTCOMES if _possible(score, outcome, programme)]
        parts.append(_advice(advice, programme))
    return _plain("\n\n".join(parts))


def _plain(page: str) -> str:
    return page.replace("\u00a0", " ")


def _forecast(score: Row, programme: Programme) -> str:
    names, p_level = programme.level_names, score["p_level"]
    chances = "   ".join(f"{name} {percent(p)}" for name, p in zip(names, p_level, strict=True))
    spend = {name: money(score[name], programme.currency) for name in score if "spend_cents" in name}
    return "\n".join(
        [
            f"member {score['member_id']}",
            f"as of {day(score['as_of_date'])}, model {score['model_version']}",
            "",
            f"level now       {names[score['level_now']]}",
            f"on {day(programme.label_date)}  {chances}",
            f"no order        {percent(score['p_churn'])}",
            f"orders          {score['expected_orders']:.1f} expected",
            f"spend           {spend['expected_spend_cents']} expected; 8 of 10 such members between"
            f" {spend['spend_cents_low']} and {spend['spend_cents_high']}",
            *_next_categories(score),
        ]
    )


def _next_categories(score: Row) -> list[str]:
    """What the first order will likely be of, where the model tells it."""
    told = score.get("next_categories")
    return ["first order of  " + "   ".join(f"{one['category']} {percent(one['p'])}" for one in told)] if told else []


def _possible(score: Row, outcome: str, programme: Programme) -> bool:
    impossible = {"up": len(programme.level_names) - 1, "down": 0}
    return impossible.get(outcome) != score["level_now"]


def _reasons(reasons: Row, outcome: str, programme: Programme) -> str:
    level = programme.level_names[reasons["level_now"]]
    head = (
        f"Why the chance to {OUTCOMES[outcome]} is {percent(reasons[f'p_{outcome}'])}"
        f" (typical member on {level}: {percent(reasons[f'typical_p_{outcome}'])})"
    )
    told = reasons[f"reasons_{outcome}"]
    lines = [f"  {100 * reason['effect']:+6.1f}  {reason['topic']}" for reason in told[:NUM_REASONS]]
    others = sum(reason["effect"] for reason in told[NUM_REASONS:])
    return "\n".join([head, *lines, f"  {100 * others:+6.1f}  everything else"])


def _advice(advice: Sequence[Row], programme: Programme) -> str:
    lines = [f"What makes a level at least {percent(programme.likely)} likely, {day(programme.label_date)}"]
    for row in sorted(advice, key=lambda row: (row["goal"] != "rise", row["metric"])):
        level = programme.level_names[row["target_level"]]
        goal = f"reach {level}" if row["goal"] == "rise" else f"keep {level}"
        lines.append(f"  {goal}: {_needed(row, programme)}")
        benefits = programme.benefits[row["target_level"]]
        lines += [f"    at stake: {', '.join(benefits)}"] if benefits else []
    return "\n".join(lines)


def _needed(row: Row, programme: Programme) -> str:
    metric, now = spoken(row["metric"]), f"now {percent(row['p_now'])} likely"
    if row["needed"] is None:
        return f"{metric} is no way to it; {now}"
    rules = f"the rules ask for {_amount(row['needed'], row['metric'], programme)}"
    unsteady = "" if row["monotone"] else "; the model's chance does not always grow with the amount"
    if row["extra"] is None:
        return f"not by more {metric} alone; {rules}; {now}{unsteady}"
    if row["extra"] == 0:
        return f"{now} without more {metric}; {rules}"
    more = f"{_amount(row['extra'], row['metric'], programme)} more {metric}"
    return f"{more} make it {percent(row['p_with_extra'])} likely; {rules}; {now}{unsteady}"


def _amount(value: int, metric: str, programme: Programme) -> str:
    return money(value, programme.currency) if metric.endswith("_cents") else count(value)
