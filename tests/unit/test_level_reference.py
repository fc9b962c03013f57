"""The reference of the levels: six walk-throughs from the document, its standing and the edges of the laws by hand."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from memberlevel_spark.config.levels import LevelsConfig
from tests.level_reference import Assignment, Standing, Stretch, metrics_on, replay, standing
from tests.level_walks import Walk, read_walks

WALKS = read_walks()
AIRLINE, RETAILER, POINTS, ORDERS, VISITS, MATCH = WALKS
each_walk = pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.title)


def replay_walk(walk: Walk, through: date) -> list[Stretch]:
    return replay(walk.config, min(walk.days), walk.tiles, walk.assignments, through)


@each_walk
def test_the_reference_walks_through_the_document(walk: Walk):
    assert replay_walk(walk, max(walk.days)) == walk.stretches


@each_walk
def test_every_row_of_the_document_holds_and_not_only_those_that_begin_a_stretch(walk: Walk):
    stretches = replay_walk(walk, max(walk.days))
    for day, said in walk.days.items():
        now = [stretch for stretch in stretches if stretch.valid_from <= day][-1]
        metrics = metrics_on(walk.config, min(walk.days), walk.tiles, day)
        assert (now.level, now.own_level, metrics) == said, day


def test_the_document_shows_every_reason_and_not_only_rows_that_begin_a_stretch():
    shown = {reason for walk in WALKS for reason in walk.reasons.values()}
    assert shown == {"joined", "earned", "lapsed", "manual", "manual_ended"}
    assert all(len(walk.days) > len(walk.reasons) > 4 for walk in WALKS)


def stand(walk: Walk, as_of: str, reach: int) -> Standing:
    return standing(walk.config, min(walk.days), walk.tiles, walk.assignments, date.fromisoformat(as_of), reach)


def test_standing_of_the_airline_nothing_of_a_year_is_carried_into_the_next_and_the_landing_is_soft():
    assert stand(AIRLINE, "2022-12-01", reach=92) == Standing(
        level=3,
        own_level=3,
        metrics_now=(35000,),
        carry_over=(0,),
        to_level_now=((0,), (25000,), (65000,)),
        to_level_carry_over=((30000,), (60000,), (100000,)),
        to_keep=(100000,),
        level_if_idle=2,
        days_to_review=90,
    )


def test_standing_of_the_retailer_what_is_too_old_on_the_label_date_is_not_carried_over():
    assert stand(RETAILER, "2023-12-01", reach=28) == Standing(
        level=2,
        own_level=2,
        metrics_now=(51000,),
        carry_over=(45000,),
        to_level_now=((0,), (0,)),
        to_level_carry_over=((0,), (5000,)),
        to_keep=(5000,),
        level_if_idle=1,
        days_to_review=1,
    )


def test_standing_of_points_those_that_expire_before_the_label_date_are_not_carried_over():
    assert stand(POINTS, "2023-07-20", reach=28) == Standing(
        level=1,
        own_level=1,
        metrics_now=(120,),
        carry_over=(0,),
        to_level_now=((0,), (180,)),
        to_level_carry_over=((100,), (300,)),
        to_keep=(100,),
        level_if_idle=0,
        days_to_review=26,
    )


def test_standing_of_orders_a_level_that_waits_for_its_review_comes_to_an_idle_member_and_nothing_is_needed():
    assert stand(ORDERS, "2023-06-30", reach=10) == Standing(
        level=1,
        own_level=1,
        metrics_now=(6,),
        carry_over=(0,),
        to_level_now=((0,), (0,)),
        to_level_carry_over=((3,), (6,)),
        to_keep=(0,),
        level_if_idle=2,
        days_to_review=1,
    )


def test_standing_knows_nothing_of_what_is_bought_later():
    assert stand(RETAILER, "2023-03-09", reach=28) == Standing(
        level=0,
        own_level=0,
        metrics_now=(6000,),
        carry_over=(6000,),
        to_level_now=((14000,), (44000,)),
        to_level_carry_over=((14000,), (44000,)),
        to_keep=(None,),
        level_if_idle=0,
        days_to_review=1,
    )


def test_standing_of_visits_each_metric_on_its_own_and_a_refund_makes_more_missing():
    assert stand(VISITS, "2024-05-01", reach=7) == Standing(
        level=1,
        own_level=1,
        metrics_now=(-2000, 0),
        carry_over=(-2000, 0),
        to_level_now=((12000, 4), (32000, 10)),
        to_level_carry_over=((12000, 4), (32000, 10)),
        to_keep=(12000, 4),
        level_if_idle=0,
        days_to_review=1,
    )


def test_standing_of_the_match_it_is_known_to_end_and_the_next_is_not_known_before_it_begins():
    assert stand(MATCH, "2024-06-10", reach=28) == Standing(
        level=1,
        own_level=0,
        metrics_now=(9000,),
        carry_over=(0,),
        to_level_now=((1000,), (11000,)),
        to_level_carry_over=((10000,), (20000,)),
        to_keep=(10000,),
        level_if_idle=0,
        days_to_review=1,
    )
    assert stand(MATCH, "2024-05-31", reach=7).level_if_idle == 0
    assert stand(MATCH, "2024-06-01", reach=7).level_if_idle == 1


def programme(**options: Any) -> LevelsConfig:
    """Orders of one day, silver from 1 and gold from 2 on, unless said otherwise."""
    levels = [{"name": "basic"}, {"name": "silver", "at_least": 1}, {"name": "gold", "at_least": 2}]
    return LevelsConfig.model_validate({"metric": "num_orders", "window_days": 1, "programme": levels} | options)


def changes(config: LevelsConfig, orders: dict[str, int], *, known: str, through: str) -> dict[str, int]:
    """Day -> level shown from that day on."""
    tiles = {date.fromisoformat(day): {"num_orders": number} for day, number in orders.items()}
    found = replay(config, date.fromisoformat(known), tiles, [], date.fromisoformat(through))
    return {str(stretch.valid_from): stretch.level for stretch in found}


def test_a_level_asks_for_all_it_names_and_standing_leaves_out_what_it_does_not_name():
    both = {"num_orders": 2, "spend_cents": 10}
    levels = [{"name": "basic"}, {"name": "silver", "at_least": {"num_orders": 1}}, {"name": "gold", "at_least": both}]
    config = LevelsConfig.model_validate({"window_days": 9, "programme": levels})
    day = date(2024, 1, 1)
    stands = standing(config, day, {day: {"num_orders": 2}}, [], day, reach=9)
    assert (stands.level, stands.to_level_now, stands.to_keep) == (1, ((0, None), (0, 10)), (1, None))
    assert standing(config, day, {day: {"spend_cents": 99}}, [], day, reach=9).to_keep == (None, None)


def test_a_leap_day_has_its_anniversary_on_28_february():
    config = programme(window={"period": "anniversary"}, window_days=None)
    orders = {"2024-03-01": 1, "2025-02-27": 1, "2027-12-01": 1}
    assert changes(config, orders, known="2024-02-29", through="2028-03-31") == {
        "2024-02-29": 0,
        "2024-03-01": 1,
        "2025-02-27": 2,
        "2025-02-28": 0,
        "2027-12-01": 1,
        "2028-02-29": 0,
    }


def test_the_first_known_day_is_an_anniversary_and_so_a_review():
    config = programme(upgrade="at_review", review={"every": "anniversary"})
    assert changes(config, {"2024-02-29": 2}, known="2024-02-29", through="2025-03-01") == {
        "2024-02-29": 2,
        "2025-02-28": 0,
    }


def test_what_was_reached_before_the_first_known_day_is_not_earned():
    config = programme(kept_for={"days": 30})
    assert changes(config, {"2024-01-04": 2}, known="2024-01-05", through="2024-02-01") == {"2024-01-05": 0}


def test_kept_for_days_counts_the_days_after_and_periods_of_zero_end_with_the_present_one():
    kept = changes(programme(kept_for={"days": 2}), {"2024-01-01": 1}, known="2024-01-01", through="2024-02-09")
    assert kept == {"2024-01-01": 1, "2024-01-04": 0}
    month = programme(window={"period": "month"}, window_days=None, kept_for={"periods": 0})
    orders = {"2024-01-10": 2, "2024-01-11": -2}
    assert changes(month, orders, known="2024-01-01", through="2024-02-09") == {
        "2024-01-01": 0,
        "2024-01-10": 2,
        "2024-02-01": 0,
    }


def test_nobody_is_known_after_the_last_day():
    assert changes(programme(), {}, known="2024-01-02", through="2024-01-01") == {}


GOLD, SILVER, BASIC = 2, 1, 0
JOINED, EARNED = (1, BASIC, "joined"), (10, SILVER, "earned")


def by_hand(mode: str, given: Sequence[tuple[int, int | None, int]]) -> list[tuple[int, int, str]]:
    """Day of January, level shown and reason of each stretch of a member whose own level is silver from the 10th on."""
    january = [date(2024, 1, 1) + timedelta(days=n) for n in range(31)]
    config = programme(window={"days": 90}, window_days=None, manual={"level": "a", "until": "b", "mode": mode})
    hands = [Assignment(january[a - 1], january[b - 1] if b else None, level) for a, b, level in given]
    found = replay(config, january[0], {january[9]: {"num_orders": 1}}, hands, january[-1])
    return [(stretch.valid_from.day, stretch.level, stretch.reason) for stretch in found]


@pytest.mark.parametrize(
    ("mode", "given", "expected"),
    [
        (
            "at_least",
            [(5, 20, GOLD)],
            [JOINED, (5, GOLD, "manual"), (10, GOLD, "manual"), (20, SILVER, "manual_ended")],
        ),
        ("at_least", [(5, 20, SILVER)], [JOINED, (5, SILVER, "manual"), EARNED]),
        ("at_least", [(5, None, BASIC)], [JOINED, EARNED]),
        ("exactly", [(12, None, BASIC)], [JOINED, EARNED, (12, BASIC, "manual")]),
        ("exactly", [(5, 10, GOLD)], [JOINED, (5, GOLD, "manual"), EARNED]),
        ("exactly", [(12, 12, GOLD), (14, 13, GOLD)], [JOINED, EARNED]),
        (
            "exactly",
            [(12, 20, BASIC), (15, 18, GOLD)],
            [
                JOINED,
                EARNED,
                (12, BASIC, "manual"),
                (15, GOLD, "manual"),
                (18, BASIC, "manual"),
                (20, 1, "manual_ended"),
            ],
        ),
        (
            "exactly",
            [(12, 20, SILVER), (12, 15, GOLD)],
            [JOINED, EARNED, (12, GOLD, "manual"), (15, SILVER, "manual_ended")],
        ),
        (
            "at_least",
            [(3, None, GOLD), (5, 8, SILVER)],
            [JOINED, (3, GOLD, "manual"), (5, SILVER, "manual"), (8, GOLD, "manual"), (10, GOLD, "manual")],
        ),
    ],
)
def test_levels_by_hand(mode: str, given: list[Any], expected: list[tuple[int, int, str]]):
    assert by_hand(mode, given) == expected


def test_without_a_manual_section_nothing_is_given_by_hand():
    day = date(2024, 1, 1)
    assert replay(programme(), day, {}, [Assignment(day, None, GOLD)], day)[0].level == 0
