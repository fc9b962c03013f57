"""Every aggregate once more for one member and one as-of date, in plain Python: slow, short, nothing shared."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from statistics import fmean, linear_regression, pstdev

from scipy.stats import entropy

from memberlevel_spark.features.feature import Feature

Value = float | None


@dataclass(frozen=True)
class History:
    """One member: the measures of each day with a tile, items met, and values by category."""

    tiles: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    items: frozenset[tuple[int, int]] = frozenset()  # (day, item)
    categories: tuple[tuple[int, int, int], ...] = ()  # (day, category, value)


def expected(feature: Feature, history: History, as_of: int) -> Value:
    """The value of a feature, None for null."""
    inside = [day for day in range(-120, as_of + 1) if feature.window_days is None or as_of - feature.window_days < day]
    if feature.kind.source == "calendar":
        return of_calendar(feature.aggregate, date(1970, 1, 1) + timedelta(days=as_of))
    if feature.kind.source == "items":
        return len({item for day, item in history.items if day in inside})
    if feature.kind.source == "categories":
        spread: Counter[int] = Counter()
        for day, category, value in history.categories:
            spread[category] += max(value, 0) if day in inside else 0
        return of_spread(feature, [spread[k] for k in range(3)])
    if feature.aggregate in ("share", "shortfall", "ratio"):
        return of_two(feature, history, inside)
    if feature.aggregate.startswith("week"):
        return of_weekdays(feature, history, inside)
    if feature.aggregate.endswith("streak_weeks"):
        return of_weeks(feature, history, as_of)
    if feature.aggregate == "repeat_mean":
        days = [d for d in inside if value_on(history, d, feature.of[0]) != 0]
        return fmean(value_on(history, d, feature.measure) for d in days[1:]) if days[1:] else None
    return of_days(feature, history, as_of, inside)


def value_on(history: History, day: int, measure: str) -> int:
    return history.tiles.get(day, {}).get(measure, 0)


def of_days(feature: Feature, history: History, as_of: int, inside: list[int]) -> Value:
    def total(after: int, through: int) -> int:
        return sum(value_on(history, day, feature.measure) for day in history.tiles if after < day <= through)

    series = [value_on(history, day, feature.measure) for day in inside]
    days = [day for day, value in zip(inside, series, strict=True) if value]
    values = [value for value in series if value]
    gaps = [b - a for a, b in pairwise(days)]
    window, back = feature.window_days or 0, feature.part or 0
    over = total(as_of - (feature.over_days or 0), as_of)
    answers = {
        "sum": lambda: sum(series),
        "count": lambda: len(days),
        "lag_sum": lambda: total(as_of - window * (back + 1), as_of - window * back),
        "trend": lambda: linear_regression(inside, series).slope,
        "window_share": lambda: min(max(sum(series) / over, 0), 1) if over > 0 else None,
        "gap_mean": lambda: fmean(gaps) if gaps else None,
        "gap_std": lambda: pstdev(gaps) if gaps else None,
        "mean": lambda: sum(values) / len(values) if values else None,
        "min": lambda: min(values, default=None),
        "max": lambda: max(values, default=None),
        "std": lambda: pstdev(values) if values else None,
        "last": lambda: values[-1] if values else None,
        "days_since": lambda: as_of - days[-1] if days else None,
        "days_since_first": lambda: as_of - days[0] if days else None,
        "repeat_days": lambda: len(days) - 1 if days else None,
        "first_to_last_days": lambda: days[-1] - days[0] if days else None,
    }
    return answers[feature.aggregate]()


def of_two(feature: Feature, history: History, inside: list[int]) -> Value:
    above, below = (
        sum(value_on(history, day, measure) for day in inside for measure in measures)
        for measures in ((feature.measure, *feature.plus), feature.of)
    )
    if below <= 0:
        return None
    share = min(max(above / below, 0), 1)
    return {"ratio": above / below, "share": share, "shortfall": 1 - share}[feature.aggregate]


def of_weekdays(feature: Feature, history: History, inside: list[int]) -> Value:
    spread = [0] * 7
    for day in inside:
        weekday = (date(1970, 1, 1) + timedelta(days=day)).weekday()
        spread[weekday] += max(value_on(history, day, feature.measure), 0)
    return of_spread(feature, spread)


def of_spread(feature: Feature, spread: list[int]) -> Value:
    total = sum(spread)
    if not total:
        return None
    if feature.aggregate == "weekend_share":
        return (spread[5] + spread[6]) / total
    if feature.aggregate.endswith("_share"):
        return spread[feature.part or 0] / total
    if feature.aggregate == "top":
        ranked = sorted((part for part, value in enumerate(spread) if value), key=lambda part: (-spread[part], part))
        return dict(enumerate(ranked)).get(feature.part or 0)
    return float(entropy(spread))


def of_weeks(feature: Feature, history: History, as_of: int) -> Value:
    num_weeks = (feature.window_days or 700) // 7
    is_active = [
        any(value_on(history, as_of - 7 * week - day, feature.measure) for day in range(7)) for week in range(num_weeks)
    ]
    text = "".join("x" if active else " " for active in is_active)
    runs = [len(run) for run in text.split(" ")]
    return max(runs) if feature.aggregate.startswith("longest") else runs[0]


def of_calendar(aggregate: str, day: date) -> Value:
    first = date(day.year, 1, 1)
    angle = 2 * math.pi * (day - first).days / (date(day.year + 1, 1, 1) - first).days
    return {
        "year_sin": math.sin(angle),
        "year_cos": math.cos(angle),
        "weekday": day.weekday(),
        "month": day.month,
        "days_to_holiday": min((h - day.toordinal() for h in HOLIDAY_ORDINALS if h >= day.toordinal()), default=None),
    }[aggregate]


HOLIDAYS = (40, 9, 62)  # days since 1970, in no order
HOLIDAY_ORDINALS = [date(1970, 1, 1).toordinal() + day for day in HOLIDAYS]
