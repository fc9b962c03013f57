"""The laws of levels (``memberlevel_spark/levels/README.md``) in plain Python: one member, one day after the other.

Slow and short: it is read as the specification, and the job must agree with it exactly. Numbers in comments are those
of the laws. ``known`` is the first day on which the shop knew the member; ``tiles`` holds day -> metric -> value.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from memberlevel_spark.config.levels import LevelsConfig, Period, ReviewConfig

Tiles = Mapping[date, Mapping[str, int]]
Values = tuple[int, ...]  # one for each of config.metrics
Missing = tuple[int | None, ...]  # the same, None for a metric that the level does not name
MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True)
class Assignment:
    """A level given by hand, from ``first`` until the day before ``until``; for good when that is None."""

    first: date
    until: date | None
    level: int


Assignments = Sequence[Assignment]


@dataclass(frozen=True)
class Stretch:
    """Days on which neither the level shown nor the own level changed; ``valid_to`` is the first day after them."""

    valid_from: date
    valid_to: date | None
    level: int
    own_level: int
    reason: str
    metric_values: Values


@dataclass(frozen=True)
class Standing:
    """Where a member stands on an as-of date: what counts now, what still counts on the label date, what is missing."""

    level: int
    own_level: int
    metrics_now: Values
    carry_over: Values
    to_level_now: tuple[Missing, ...]
    to_level_carry_over: tuple[Missing, ...]
    to_keep: Missing
    level_if_idle: int
    days_to_review: int


def replay(config: LevelsConfig, known: date, tiles: Tiles, assignments: Assignments, through: date) -> list[Stretch]:
    """The stretches of a member from ``known`` through ``through``; none when that lies before."""
    starts: list[Stretch] = []
    for day, own, values in own_levels(config, known, tiles, through):
        shown = level_shown(config, own, assignments, day)
        before = starts[-1] if starts else None
        if before is None or (shown, own) != (before.level, before.own_level):
            starts.append(Stretch(day, None, shown, own, reason_of(before, shown, own), values))
    ends = [*(stretch.valid_from for stretch in starts[1:]), None]
    return [Stretch(**{**vars(start), "valid_to": end}) for start, end in zip(starts, ends, strict=False)]


def own_levels(config: LevelsConfig, known: date, tiles: Tiles, through: date) -> Iterator[tuple[date, int, Values]]:
    """Each day with the level of laws 1 to 5 and the metrics."""
    held, last_earned = 0, [date.max, *(date.min for _ in config.programme[1:])]
    for day in (known + timedelta(days=n) for n in range((through - known).days + 1)):
        values = metrics_on(config, known, tiles, day)  # 1
        for level in range(1, reached(config, values) + 1):  # 2 and 3
            last_earned[level] = max(last_earned[level], last_day_earned(config, known, day))
        is_review = is_review_day(config.review, known, day)
        earned = highest(last_earned, day)
        kept = highest(last_earned, day - timedelta(days=config.grace_days))
        if earned > held:  # 4
            held = earned if is_review or config.upgrade == "at_once" else held
        elif is_review and kept < held:  # 5
            held = held - 1 if config.soft_landing else kept
        yield day, held, values


def metrics_on(config: LevelsConfig, known: date, tiles: Tiles, day: date) -> Values:
    """1: each metric over its window that ends on the day."""
    firsts = {metric: first_day_counted(config, known, metric, day) for metric in config.metrics}
    return tuple(
        sum(tile.get(metric, 0) for tile_day, tile in tiles.items() if first <= tile_day <= day)
        for metric, first in firsts.items()
    )


def first_day_counted(config: LevelsConfig, known: date, metric: str, day: date) -> date:
    """Where the window that ends on the day begins; points expire besides."""
    window, expire_days = config.counted, config.earn.expire_days
    num_days = window.days or 1
    first = period_start(window.period, known, day) if window.period else day - timedelta(days=num_days - 1)
    if metric == "points" and expire_days:
        first = max(first, day - timedelta(days=expire_days - 1))
    return first


def reached(config: LevelsConfig, values: Sequence[int]) -> int:
    """2: the highest level whose thresholds are met, else 0."""
    found = dict(zip(config.metrics, values, strict=True))
    enough = all if config.reach == "all" else any
    levels = list(enumerate(config.thresholds))[1:]
    met = [level for level, needs in levels if enough(found[metric] >= least for metric, least in needs.items())]
    return max(met, default=0)


def last_day_earned(config: LevelsConfig, known: date, day: date) -> date:
    """3: through which day a level reached on ``day`` is earned."""
    kept, period = config.kept_for, config.counted.period
    if kept.periods is None or period is None:
        return day + timedelta(days=kept.days or 0)
    return period_start(period, known, day, later=kept.periods + 1) - timedelta(days=1)


def highest(last_earned: Sequence[date], day: date) -> int:
    """The highest level that is earned through ``day`` or longer."""
    return max(level for level, last in enumerate(last_earned) if last >= day)


def level_shown(config: LevelsConfig, own: int, assignments: Assignments, day: date) -> int:
    """6: the own level, or what a manual assignment makes of it."""
    holding = [a for a in assignments if a.first <= day and (a.until is None or day < a.until)]
    if config.manual is None or not holding:
        return own
    given = max(holding, key=lambda assignment: (assignment.first, assignment.level)).level
    return given if config.manual.mode == "exactly" else max(own, given)


def reason_of(before: Stretch | None, shown: int, own: int) -> str:
    """Why a stretch begins."""
    if before is None:
        return "joined"
    if shown != own:
        return "manual"
    if own != before.own_level:
        return "earned" if own > before.own_level else "lapsed"
    return "manual_ended"


def standing(
    config: LevelsConfig, known: date, tiles: Tiles, assignments: Assignments, as_of: date, reach: int
) -> Standing:
    """What to earn on ``as_of``, for the label date ``reach`` days later; only what has happened or begun by then."""
    label_date = as_of + timedelta(days=reach)
    happened = {day: tile for day, tile in tiles.items() if day <= as_of}
    begun = [assignment for assignment in assignments if assignment.first <= as_of]
    now = replay(config, known, happened, begun, as_of)[-1]
    idle = replay(config, known, happened, begun, label_date)[-1]
    metrics_now, carry_over = (metrics_on(config, known, happened, day) for day in (as_of, label_date))
    missing_now, missing_then = missing(config, metrics_now), missing(config, carry_over)
    is_kept = idle.level >= now.level
    to_keep = tuple(0 if is_kept and value is not None else value for value in missing_then[now.level])
    to_review = next(n for n in range(1, 367) if is_review_day(config.review, known, as_of + timedelta(days=n)))
    to_level = missing_now[1:], missing_then[1:]
    return Standing(now.level, now.own_level, metrics_now, carry_over, *to_level, to_keep, idle.level, to_review)


def missing(config: LevelsConfig, values: Values) -> tuple[Missing, ...]:
    """For each level and metric what is missing to the threshold."""
    found = list(zip(config.metrics, values, strict=True))
    return tuple(
        tuple(max(needs[metric] - value, 0) if metric in needs else None for metric, value in found)
        for needs in config.thresholds
    )


def is_review_day(review: ReviewConfig, known: date, day: date) -> bool:
    """Whether members may fall on the day."""
    if review.every == "anniversary":
        return day == anniversary(known, day.year)
    months = {"month": range(1, 13), "quarter": (1, 4, 7, 10), "year": (review.month,)}
    return review.every == "day" or (day.day == review.day and day.month in months[review.every])


def period_start(period: Period, known: date, day: date, later: int = 0) -> date:
    """The first day of the period in which the day lies, or of the one so many periods ``later``."""
    if period == "anniversary":
        has_begun = anniversary(known, day.year) <= day
        return anniversary(known, day.year + later if has_begun else day.year - 1 + later)
    month = day.year * 12 + day.month - 1
    month += MONTHS[period] * later - month % MONTHS[period]
    return date(month // 12, month % 12 + 1, 1)


def anniversary(known: date, year: int) -> date:
    """The first known day in another year: 28 February for the 29th where there is none."""
    try:
        return known.replace(year=year)
    except ValueError:
        return date(year, 2, 28)
