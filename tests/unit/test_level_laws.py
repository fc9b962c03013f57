"""What the laws of levels imply for every programme and every member, held against the reference."""

from calendar import isleap
from dataclasses import replace
from datetime import date, timedelta
from itertools import accumulate, groupby, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from memberlevel_spark.config.levels import LevelsConfig
from tests.level_programmes import History, cases, histories, plain_programmes
from tests.level_reference import (
    Stretch,
    is_review_day,
    last_day_earned,
    own_levels,
    reached,
    replay,
    standing,
)

Case = tuple[LevelsConfig, History]
few = settings(max_examples=25, deadline=None)


def replay_case(config: LevelsConfig, history: History) -> list[Stretch]:
    return replay(config, history.known, history.tiles, history.assignments, history.through)


def own_by_day(config: LevelsConfig, history: History) -> list[int]:
    return [own for _, own, _ in own_levels(config, history.known, history.tiles, history.through)]


@few
@given(cases())
def test_stretches_follow_each_other_and_each_changes_something(case: Case):
    found = replay_case(*case)
    assert [stretch.valid_from for stretch in found] == [case[1].known, *(stretch.valid_to for stretch in found[:-1])]
    assert found[-1].valid_to is None and found[-1].valid_from <= case[1].through
    for before, after in pairwise(found):
        assert before.valid_from < after.valid_from
        assert (before.level, before.own_level) != (after.level, after.own_level)


def is_counted(config: LevelsConfig, known: date, metric: str, *, on: date, of: date) -> bool:
    """Whether a tile of one day counts on another, said without windows that begin somewhere."""
    age_days, window = (on - of).days, config.counted
    expired = metric == "points" and age_days >= (config.earn.expire_days or 10**6)
    if window.period is None:
        return not expired and 0 <= age_days < (window.days or 0)
    return not expired and age_days >= 0 and period_of(window.period, known, on) == period_of(window.period, known, of)


def period_of(period: str, known: date, day: date) -> tuple[int, int]:
    born = (2, 28) if (known.month, known.day) == (2, 29) and not isleap(day.year) else (known.month, known.day)
    parts = {"month": day.month, "quarter": (day.month + 2) // 3, "year": 0, "anniversary": 0}
    is_before = period == "anniversary" and (day.month, day.day) < born
    return day.year - is_before, parts[period]


@few
@given(plain_programmes(), histories())
def test_without_other_rules_the_level_is_the_reached_one_every_day(config: LevelsConfig, history: History):
    for day, own, values in own_levels(config, history.known, history.tiles, history.through):
        found = dict.fromkeys(config.metrics, 0)
        for of, tile in history.tiles.items():
            for metric in config.metrics:
                found[metric] += tile.get(metric, 0) * is_counted(config, history.known, metric, on=day, of=of)
        assert tuple(found.values()) == values
        met = [[found[metric] >= least for metric, least in needs.items()] for needs in config.thresholds[1:]]
        assert own == [*(all(one) if config.reach == "all" else any(one) for one in met), False].index(False)


@few
@given(cases(), st.integers(1, 60))
def test_grace_never_lowers_a_level(case: Case, more_days: int):
    config, history = case
    longer = config.model_copy(update={"grace_days": config.grace_days + more_days})
    pairs = zip(own_by_day(longer, history), own_by_day(config, history), strict=True)
    assert all(with_more >= without for with_more, without in pairs)


@few
@given(cases())
def test_members_fall_on_review_days_only_and_land_softly_one_level_below(case: Case):
    config, history = case
    falls = [
        (before - after, history.known + timedelta(days=day))
        for day, (before, after) in enumerate(pairwise(own_by_day(config, history)), start=1)
        if after < before
    ]
    assert all(is_review_day(config.review, history.known, day) for _, day in falls)
    assert not config.soft_landing or all(levels == 1 for levels, _ in falls)


@few
@given(cases())
def test_the_own_level_is_earned_unless_it_waits_for_a_review_grace_or_lands_softly(case: Case):
    config, history = case
    earned = [0] * ((history.through - history.known).days + 1)
    rows = list(own_levels(config, history.known, history.tiles, history.through))
    for first, (day, _, values) in enumerate(rows):
        level, last = reached(config, values), (last_day_earned(config, history.known, day) - history.known).days
        for n in range(first, min(last + 1, len(earned)) if level else first):
            earned[n] = max(earned[n], level)
    for (day, own, _), level, ever in zip(rows, earned, accumulate(earned, max), strict=True):
        is_review = is_review_day(config.review, history.known, day)
        assert own <= ever
        if is_review or config.upgrade == "at_once":
            assert own >= level
        if is_review and not config.grace_days and not config.soft_landing:
            assert own == level


@few
@given(cases())
def test_levels_by_hand_change_nothing_underneath_and_at_least_never_lowers(case: Case):
    config, history = case
    alone = replay_case(config, replace(history, assignments=()))
    assert all(stretch.level == stretch.own_level for stretch in alone)
    found = replay_case(config, history)
    own = [next(group) for _, group in groupby(found, key=lambda stretch: stretch.own_level)]
    assert [(a.valid_from, a.own_level) for a in own] == [(a.valid_from, a.own_level) for a in alone]
    if config.manual is None or config.manual.mode == "at_least":
        assert all(stretch.level >= stretch.own_level for stretch in found)


@few
@given(cases(), st.integers(0, 800))
def test_what_comes_later_changes_nothing_before(case: Case, day: int):
    config, history = case
    through = min(history.known + timedelta(days=day), history.through)
    earlier = {day: tile for day, tile in history.tiles.items() if day <= through}
    found = replay(config, history.known, earlier, [a for a in history.assignments if a.first <= through], through)
    whole = [stretch for stretch in replay_case(config, history) if stretch.valid_from <= through]
    assert found == [*whole[:-1], replace(whole[-1], valid_to=None)]


@few
@given(cases(), st.integers(0, 120))
def test_standing_agrees_with_the_replay(case: Case, reach: int):
    config, history = case
    stands = standing(config, history.known, history.tiles, history.assignments, history.through, reach)
    last = replay_case(config, history)[-1]
    assert (stands.level, stands.own_level) == (last.level, last.own_level)
    assert 1 <= stands.days_to_review <= 366
    named = [metric in config.thresholds[stands.level] for metric in config.metrics]
    assert [value is not None for value in stands.to_keep] == named
    assert stands.level_if_idle < stands.level or not any(stands.to_keep)
    at_once = standing(config, history.known, history.tiles, history.assignments, history.through, reach=0)
    assert (at_once.carry_over, at_once.level_if_idle) == (stands.metrics_now, stands.level)
    assert at_once.to_level_carry_over == at_once.to_level_now == stands.to_level_now
