"""The year as it is lived, with what goes wrong in it, and the same year with everything at hand from the start."""

import time
from collections.abc import Callable
from datetime import date, timedelta

from memberlevel_spark.timeline import ONE_DAY, every
from tests.year.calendar import WEEK, Year
from tests.year.shop import INGEST, SOURCES, YearShop, between

Tell = Callable[[str], None]


def live(shop: YearShop, tell: Tell) -> None:
    """Day by day: files, tables, features, scores, what is to be seen; once a week outcomes and a new model."""
    year = shop.year
    _open(shop, history(year), tell)
    for day in year.days:
        started = time.monotonic()
        happened = _arrive(shop, day)
        _ingest(shop, day)
        since = year.faults.late if day == _late_arrives(year) else day
        shop.job("features", day, *between(since, day))
        _score(shop, since, day)
        if day in year.trainings:
            shop.job("monitor", day, *between(day - WEEK + ONE_DAY, day))
            shop.job("outcomes", day)
            shop.learn(day)
            happened.append("outcomes judged, trained anew")
        words = "; ".join(happened) or "-"
        tell(f"{day} {day:%a}  week {year.week_of(day)}  {time.monotonic() - started:5.1f} s  {words}")


def live_undisturbed(shop: YearShop, tell: Tell) -> None:
    """All files at once, every table in one go; then the models and the scores in the order of the weeks."""
    year = shop.year
    _open(shop, (*history(year), *year.days), tell)
    shop.job("features", year.last, *between(year.days[0], year.last))
    for training in year.trainings[:-1]:
        end = training + WEEK
        shop.job("score", end, *between(training + ONE_DAY, end))
        shop.job("monitor", end, *between(training + ONE_DAY, end))
        shop.learn(end)
        tell(f"{training} to {end}: scored, trained anew")
    shop.job("outcomes", year.last)


def history(year: Year) -> tuple[date, ...]:
    """The days before those that are lived."""
    assert year.config.world is not None
    return every(year.config.world.first_day, year.opening, 1)


def _open(shop: YearShop, days: tuple[date, ...], tell: Tell) -> None:
    """The history arrives, the first model is trained."""
    started, year = time.monotonic(), shop.year
    for source in SOURCES:
        shop.deliver(source, days, "history")
    for name in INGEST:
        shop.job(name, days[-1])
    first = year.config.timeline.train.first
    shop.job("features", year.opening, *between(first, year.opening, every=7))
    shop.learn(year.opening)
    tell(f"{days[0]} to {days[-1]}: the files of {len(days)} days, a first model, {time.monotonic() - started:.1f} s")


def _late_arrives(year: Year) -> date:
    return year.faults.late + timedelta(days=year.faults.days_late)


def _arrive(shop: YearShop, day: date) -> list[str]:
    """The day's orders and refunds, on Sundays the week's profiles, and a word on what is wrong with them."""
    faults = shop.year.faults
    shop.deliver("refunds", [day], str(day))
    if day in shop.year.trainings:
        shop.deliver("profiles", every(day - WEEK + ONE_DAY, day, 1), str(day))
    if day == faults.late:
        return ["the orders of the day are missing"]
    shop.deliver("orders", [day], str(day), broken=faults.num_broken if day == faults.bad else 0)
    if day == faults.bad:
        return [f"{faults.num_broken} broken lines of orders: silver stops, is told to go on without them"]
    if day == _late_arrives(shop.year):
        shop.deliver("orders", [faults.late], str(faults.late))
        return [f"the orders of {faults.late} arrive: features and scores since then are made again"]
    if day == faults.crashed_silver:
        return ["silver is killed when only its events are written, and run again"]
    return ["scoring is killed between its two tables, and run again"] if day == faults.crashed_score else []


def _ingest(shop: YearShop, day: date) -> None:
    for name in INGEST:
        if name == "silver" and day == shop.year.faults.bad:
            shop.job(name, day, expect=3)
            shop.job(name, day, "--set", "quality.max_quarantine_share=1")
            continue
        if name == "silver" and day == shop.year.faults.crashed_silver:
            shop.killed(name, day, after_writes=1)
        shop.job(name, day)


def _score(shop: YearShop, since: date, day: date) -> None:
    if day == shop.year.faults.crashed_score:
        shop.killed("score", day, *between(since, day), after_writes=1)
    shop.job("score", day, *between(since, day))
