"""Hypothesis strategies: level programmes with every option, and what may happen to a member.

Numbers are small, so that within some hundred days members rise, fall, lose points and come back. Nothing is drawn and
thrown away: what the configuration would refuse is not built in the first place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st

from memberlevel_spark.config.levels import LONGEST_DAYS, LevelsConfig
from tests.level_reference import Assignment

METRICS = ("spend_cents", "num_orders", "points")
NAMES = ("basic", "bronze", "silver", "gold", "platinum")
PERIODS = ("month", "quarter", "year", "anniversary")
MAX_DAYS = 800
EDGE_DAYS = (date(2020, 2, 29), date(2024, 2, 29), date(2021, 2, 28), date(2021, 1, 1), date(2021, 12, 31))
Draw = st.DrawFn
Tile = dict[str, int]


@dataclass(frozen=True)
class History:
    """What happens to one member: the first known day, the last day asked for, daily tiles, levels given by hand."""

    known: date
    through: date
    tiles: Mapping[date, Mapping[str, int]]
    assignments: Sequence[Assignment]


@st.composite
def programmes(draw: Draw) -> LevelsConfig:
    """A valid level programme of two to five levels."""
    window = draw(windows())
    period = window.get("window", {}).get("period")
    reach = draw(st.sampled_from(["all", "any"]))
    review = draw(reviews())
    kept_for = draw(kept(period, LONGEST_DAYS[review["every"]]))
    # Reviews on first days of periods would see those days only.
    may_see_nothing = period is not None and not any(kept_for.values())
    upgrades = ["at_once"] if may_see_nothing else ["at_once", "at_review"]
    options = {
        "reach": reach,
        "upgrade": draw(st.sampled_from(upgrades)),
        "review": review,
        "kept_for": kept_for,
        "grace_days": draw(st.sampled_from([0, 0, 1, 7, 45])),
        "soft_landing": review["every"] != "day" and draw(st.booleans()),
        "manual": draw(st.none() | manuals()),
        "earn": draw(earnings()),
    }
    return LevelsConfig.model_validate({**draw(ladders(reach)), **window, **options})


@st.composite
def plain_programmes(draw: Draw) -> LevelsConfig:
    """A programme without any rule but its window and the expiry of points: the level follows the metrics every day."""
    reach = draw(st.sampled_from(["all", "any"]))
    options = {"reach": reach, "earn": draw(earnings())}
    return LevelsConfig.model_validate({**draw(ladders(reach)), **draw(windows()), **options})


@st.composite
def histories(draw: Draw, num_levels: int = 2) -> History:
    """A member of at most 800 days: busy or quiet, with levels by hand below ``num_levels``."""
    known = draw(st.sampled_from(EDGE_DAYS) | st.dates(date(2019, 1, 1), date(2024, 12, 31)))
    fewest = draw(st.sampled_from([0, 5, 20]))
    gaps = st.integers(1, 5) | st.integers(1, 100)
    day, tiles = draw(st.integers(-60, 20)), {}
    for gap, tile in draw(st.lists(st.tuples(gaps, made_tiles()), min_size=fewest, max_size=fewest + 10)):
        day += gap
        tiles[known + timedelta(days=day)] = tile
    return History(
        known=known,
        through=known + timedelta(days=draw(st.just(MAX_DAYS) | st.integers(0, MAX_DAYS))),
        tiles=tiles,
        assignments=draw(st.lists(given_levels(known, num_levels), max_size=4)),
    )


@st.composite
def cases(draw: Draw) -> tuple[LevelsConfig, History]:
    """A programme and a member of it."""
    config = draw(programmes())
    return config, draw(histories(len(config.programme)))


@st.composite
def ladders(draw: Draw, reach: str) -> dict[str, Any]:
    """The programme in either form: plain numbers of one metric, or thresholds that may name several."""
    num_above = draw(st.integers(1, len(NAMES) - 1))
    if draw(st.booleans()):
        values = _rising(draw, num_above)
        levels = [{"name": name, "at_least": value} for name, value in zip(NAMES, [0, *values], strict=False)]
        return {"metric": draw(st.sampled_from(METRICS)), "programme": levels}
    thresholds = _thresholds(draw, num_above, reach)
    levels = [{"name": name, "at_least": needs} for name, needs in zip(NAMES, [{}, *thresholds], strict=False)]
    return {"programme": levels}


def _rising(draw: Draw, count: int) -> list[int]:
    """Thresholds that strictly increase from 1 or more."""
    steps = draw(st.lists(st.integers(1, 8), min_size=count, max_size=count))
    return [sum(steps[: n + 1]) for n in range(count)]


def _thresholds(draw: Draw, count: int, reach: str) -> list[dict[str, int]]:
    """Each level asks for as much or more of every metric; with ``all`` metrics may come, with ``any`` they may go."""
    order = draw(st.permutations(METRICS))
    sizes = draw(st.lists(st.integers(1, len(METRICS)), min_size=count, max_size=count).map(sorted))
    if reach == "any":
        sizes.reverse()
    made: list[dict[str, int]] = []
    for size in sizes:
        below = made[-1] if made else {}
        raised = {name: below.get(name, 1) + draw(st.integers(0, 6)) for name in order[:size]}
        if raised == below:
            raised[order[0]] += 1
        made.append(raised)
    return made


@st.composite
def windows(draw: Draw) -> dict[str, Any]:
    """The qualification window in one of its three forms."""
    period = draw(st.sampled_from([None, None, None, *PERIODS]))
    if period is not None:
        return {"window": {"period": period}}
    days = draw(st.integers(1, 40))
    return draw(st.sampled_from([{"window_days": days}, {"window": {"days": days}}]))


@st.composite
def reviews(draw: Draw) -> dict[str, Any]:
    """Review days of every kind."""
    every = draw(st.sampled_from(["day", *PERIODS]))
    day = st.sampled_from([1, 1, 15, 28])
    if every in ("day", "anniversary"):
        return {"every": every}
    if every == "year":
        return {"every": every, "month": draw(st.sampled_from([1, 2, 3, 12])), "day": draw(day)}
    return {"every": every, "day": draw(day)}


@st.composite
def kept(draw: Draw, period: str | None, interval_days: int) -> dict[str, int]:
    """How long a level is kept: not at all, or no shorter than the reviews are apart."""
    ways = [st.just({"days": 0}), st.integers(0, 60).map(lambda more: {"days": interval_days + more})]
    if period is not None:
        fewest = -(-interval_days // LONGEST_DAYS[period])
        choices = range(0 if fewest == 1 else fewest, min(fewest + 2, 11))
        ways += [st.sampled_from(choices).map(lambda n: {"periods": n})] if choices else []
    return draw(st.one_of(ways))


def manuals() -> st.SearchStrategy[dict[str, str]]:
    """Levels by hand, in both modes."""
    return st.sampled_from(["at_least", "exactly"]).map(
        lambda mode: {"level": "given_level", "until": "given_until", "mode": mode}
    )


@st.composite
def earnings(draw: Draw) -> dict[str, Any]:
    """How points are earned, and for how long they count."""
    days = sorted(draw(st.tuples(*[st.dates(date(2019, 1, 1), date(2024, 12, 31))] * 2)))
    multipliers = [
        {"times": 2, "category": "coffee"},
        {"times": 1.5, "first_day": days[0], "last_day": days[1]},
        {"times": 0.25, "category": "books", "first_day": days[0]},
    ]
    return {
        "per_currency_unit": draw(st.integers(0, 3)),
        "per_event": draw(st.dictionaries(st.sampled_from(["order", "activity"]), st.integers(0, 5))),
        "multipliers": draw(st.lists(st.sampled_from(multipliers), max_size=2)),
        "expire_days": draw(st.none() | st.integers(1, 60)),
    }


@st.composite
def made_tiles(draw: Draw) -> Tile:
    """One day of a member: spend below zero from refunds, days of zeros, metrics left out."""
    tile = {
        "spend_cents": draw(st.integers(-6, 20)),
        "num_orders": draw(st.integers(0, 8)),
        "points": draw(st.integers(-4, 20)),
        "num_items": draw(st.integers(0, 3)),
    }
    left_out = draw(st.sampled_from([(), (), ("spend_cents",), ("points",), ("num_orders", "points")]))
    return {name: value for name, value in tile.items() if name not in left_out}


@st.composite
def given_levels(draw: Draw, known: date, num_levels: int) -> Assignment:
    """A level by hand: some begin before the first known day, some never hold, some never end."""
    first = known + timedelta(days=draw(st.integers(-40, MAX_DAYS)))
    until = draw(st.none() | st.integers(-3, 200).map(lambda days: first + timedelta(days=days)))
    return Assignment(first, until, draw(st.integers(0, num_levels - 1)))
