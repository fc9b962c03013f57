"""What the section `levels` accepts and refuses, and in which words."""

from datetime import date
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from memberlevel_spark.config.levels import KeptConfig, LevelsConfig, ReviewConfig, WindowConfig
from tests.level_programmes import programmes

BASIC, SILVER = {"name": "basic", "at_least": 0}, {"name": "silver", "at_least": 5}
ORDERS, SPEND = "num_orders", "spend_cents"
FORM: dict[str, Any] = {"metric": ORDERS, "window_days": 30, "programme": [BASIC, SILVER]}
RISE = r"programme thresholds that start at 0 and strictly increase"
YEAR: dict[str, Any] = {"window_days": None, "window": {"period": "year"}}
MONTH: dict[str, Any] = {"window_days": None, "window": {"period": "month"}}
YEARLY, QUARTERLY, MONTHLY = {"every": "year"}, {"every": "quarter"}, {"every": "month"}


def load(**options: Any) -> LevelsConfig:
    """The short form, with what is said otherwise."""
    return LevelsConfig.model_validate(FORM | options)


def ladder(*thresholds: Any) -> dict[str, Any]:
    """Levels a, b, c, … with these thresholds that name their metrics."""
    levels = [{"name": name, "at_least": needs} for name, needs in zip("abcdef", [{}, *thresholds], strict=False)]
    return {"metric": None, "programme": levels}


def test_the_short_form_is_one_metric_over_trailing_days_and_every_rule_has_a_default():
    config = load()
    assert config.counted == WindowConfig(days=30)
    assert config.thresholds == ({}, {ORDERS: 5})
    assert config.metrics == (ORDERS,)
    assert (config.reach, config.upgrade, config.review.every, config.grace_days) == ("all", "at_once", "day", 0)
    assert (config.kept_for, config.soft_landing, config.manual) == (KeptConfig(days=0), False, None)
    assert (config.earn.expire_days, config.earn.multipliers, config.programme[1].benefits) == (None, (), ())


def test_the_long_form_names_metrics_level_by_level_in_the_order_of_their_first_mention():
    thresholds = ({SPEND: 5}, {ORDERS: 1, SPEND: 5}, {ORDERS: 1, "points": 9, SPEND: 6})
    config = load(**YEAR, **ladder(*thresholds))
    assert config.counted == WindowConfig(period="year")
    assert config.thresholds == ({}, *thresholds)
    assert config.metrics == (SPEND, ORDERS, "points")


def test_the_lowest_level_may_leave_its_threshold_out_and_numbers_may_use_either_window():
    config = load(programme=[{"name": "basic"}, SILVER], window_days=None, window={"days": 7})
    assert (config.counted.days, config.thresholds) == (7, ({}, {ORDERS: 5}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_days": None}, "either window_days or window"),
        ({"window": {"days": 30}}, "either window_days or window"),
        ({"window_days": None, "window": {}}, r"either days or period \(month, quarter, year, anniversary\)"),
        ({"window_days": None, "window": {"days": 3, "period": "year"}}, "either days or period"),
        ({"window_days": 0}, "greater than or equal to 1"),
        ({"window_days": 3661}, "less than or equal to 3660"),
        ({"window": {"days": 0}}, "greater than or equal to 1"),
        ({"window": {"period": "week"}}, "'month', 'quarter', 'year' or 'anniversary'"),
        ({"metric": None}, r"metric, since thresholds are plain numbers \(of silver\)"),
        (
            {"programme": [BASIC, {"name": "b", "at_least": {ORDERS: 5}}]},
            "metric only where every threshold is a plain",
        ),
        ({"programme": [BASIC, {"name": "basic", "at_least": 5}]}, "level names that differ"),
        ({"programme": [BASIC]}, "at least 2 items"),
        ({"programme": [{"name": f"l{n}", "at_least": n} for n in range(33)]}, "at most 32 items"),
        ({"programme": [BASIC, {"name": "", "at_least": 5}]}, "at least 1 character"),
        ({"reach": "some"}, "'all' or 'any'"),
        ({"upgrade": "later"}, "'at_once' or 'at_review'"),
        ({"grace_days": -1}, "greater than or equal to 0"),
        ({"grace_days": 367}, "less than or equal to 366"),
        ({"manual": {"level": "given"}}, "Field required"),
        ({"manual": {"level": "", "until": "b"}}, "at least 1 character"),
        ({"manual": {"level": "a", "until": "b", "mode": "at_most"}}, "'at_least' or 'exactly'"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_forms_that_are_refused(options: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        load(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"programme": [{"name": "a", "at_least": 1}, SILVER]}, RISE + r" \(a is the lowest level\)"),
        ({"programme": [{"name": "a", "at_least": {ORDERS: 1}}, SILVER]}, r"\(a is the lowest level\)"),
        ({"programme": [BASIC, {"name": "b", "at_least": 0}]}, rf"{RISE} \(basic to b\)"),
        ({"programme": [BASIC, {"name": "b"}]}, rf"{RISE} \(basic to b\)"),
        ({"programme": [BASIC, {"name": "b", "at_least": -1}]}, rf"{RISE} \(basic to b\)"),
        ({"programme": [BASIC, SILVER, {"name": "c", "at_least": 5}]}, rf"{RISE} \(silver to c\)"),
        ({"programme": [BASIC, SILVER, {"name": "c", "at_least": 4}]}, rf"{RISE} \(silver to c\)"),
        (ladder({}), rf"{RISE} \(a to b\)"),
        (ladder({ORDERS: 0}), rf"{RISE} \(a to b\)"),
        (ladder({ORDERS: 1, SPEND: 9}, {ORDERS: 1, SPEND: 9}), rf"{RISE} \(b to c\)"),
        (ladder({ORDERS: 1, SPEND: 9}, {ORDERS: 2, SPEND: 8}), rf"{RISE} \(b to c\)"),
        (ladder({ORDERS: 1, SPEND: 9}, {ORDERS: 2}), rf"{RISE} \(b to c\)"),
        (ladder({ORDERS: 1}, {ORDERS: 2, SPEND: 8}) | {"reach": "any"}, rf"{RISE} \(b to c\)"),
        (ladder({ORDERS: 2, SPEND: 8}, {ORDERS: 1}) | {"reach": "any"}, rf"{RISE} \(b to c\)"),
    ],
)
def test_ladders_on_which_a_higher_level_is_not_harder_are_refused(options: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        load(**options)


@pytest.mark.parametrize(
    "options",
    [
        ladder({ORDERS: 1}, {ORDERS: 1, SPEND: 8}),
        ladder({ORDERS: 1, SPEND: 8}, {ORDERS: 1, SPEND: 9}),
        ladder({ORDERS: 1, SPEND: 8}, {ORDERS: 1}) | {"reach": "any"},
        ladder({ORDERS: 1, SPEND: 8}, {SPEND: 9}) | {"reach": "any"},
    ],
)
def test_ladders_that_rise_in_one_metric_or_by_naming_more_or_fewer_are_accepted(options: dict[str, Any]):
    assert len(load(**options).thresholds) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"review": {"every": "week"}}, "'day', 'month', 'quarter', 'year' or 'anniversary'"),
        ({"review": MONTHLY | {"day": 29}}, "less than or equal to 28"),
        ({"review": YEARLY | {"month": 13}}, "less than or equal to 12"),
        ({"review": MONTHLY | {"month": 3}}, "a month only for a review every year"),
        ({"review": {"every": "day", "day": 3}}, "a day only for a review every month, quarter or year"),
        ({"review": {"every": "anniversary", "day": 3}}, "a day only for a review every month, quarter or year"),
        ({"kept_for": {}}, "either days or periods"),
        ({"kept_for": {"days": 3, "periods": 1}}, "either days or periods"),
        ({"kept_for": {"days": 3661}}, "less than or equal to 3660"),
        ({"kept_for": {"periods": 11}}, "less than or equal to 10"),
        ({"kept_for": {"periods": 1}}, "kept_for.periods only for a window that is a period"),
        (
            MONTH | {"kept_for": {"periods": 1}, "review": QUARTERLY},
            "a review at least as often as a level is kept_for ",
        ),
        (MONTH | {"kept_for": {"periods": 0}, "review": YEARLY}, "a review at least as often as a level is kept_for"),
        ({"kept_for": {"days": 30}, "review": MONTHLY}, r"as often as a level is kept_for \(30 days\)"),
        ({"kept_for": {"days": 365}, "review": {"every": "anniversary"}}, r"is kept_for \(365 days\)"),
        ({"soft_landing": True}, "soft_landing only with reviews that are not every day"),
        (YEAR | {"upgrade": "at_review", "review": YEARLY}, "sees that day only; set kept_for"),
        (
            {"window_days": None, "window": {"period": "anniversary"}}
            | {"upgrade": "at_review", "review": {"every": "anniversary"}},
            "levels that can be reached: a review on a period's first day sees that day only",
        ),
    ],
)
def test_reviews_at_which_nothing_sensible_would_happen_are_refused(options: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        load(**options)


@pytest.mark.parametrize(
    "options",
    [
        YEAR | {"upgrade": "at_review", "review": YEARLY, "kept_for": {"periods": 1}},
        YEAR | {"upgrade": "at_review", "review": YEARLY | {"month": 12, "day": 28}},
        YEAR | {"review": YEARLY},
        MONTH | {"kept_for": {"periods": 3}, "review": QUARTERLY},
        MONTH | {"kept_for": {"periods": 0}, "review": MONTHLY, "soft_landing": True},
        {"kept_for": {"days": 31}, "review": MONTHLY | {"day": 28}},
        {"review": YEARLY},
    ],
)
def test_reviews_often_enough_are_accepted(options: dict[str, Any]):
    assert load(**options).review == ReviewConfig.model_validate(options["review"])


@pytest.mark.parametrize(
    ("earn", "words"),
    [
        ({"per_currency_unit": -1}, "greater than or equal to 0"),
        ({"expire_days": 0}, "greater than or equal to 1"),
        ({"multipliers": [{"times": 2}]}, "a category, or days, to which the multiplier applies"),
        ({"multipliers": [{"times": -1, "category": "c"}]}, "greater than or equal to 0"),
        ({"multipliers": [{"times": 101, "category": "c"}]}, "less than or equal to 100"),
        ({"multipliers": [{"times": 1.125, "category": "c"}]}, "at most two decimals"),
        (
            {"multipliers": [{"times": 2, "first_day": date(2024, 1, 2), "last_day": date(2024, 1, 1)}]},
            "first_day on or before last_day",
        ),
    ],
)
def test_ways_to_earn_that_are_refused(earn: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        load(earn=earn)


def test_multipliers_of_a_category_of_days_or_of_both_are_accepted():
    day = {"first_day": "2024-01-01", "last_day": "2024-01-01"}
    given_times = [{"times": 0, "category": "c"}, {"times": 1.5, **day}, {"times": 0.25, "category": "c", **day}]
    config = load(earn={"multipliers": given_times, "expire_days": 1, "per_event": {"activity": 5}})
    assert [multiplier.times for multiplier in config.earn.multipliers] == [0, 1.5, 0.25]


def test_every_number_with_two_decimals_is_accepted():
    given_times = [hundredths / 100 for hundredths in range(10_001)]
    multipliers = [{"times": times, "category": "c"} for times in given_times]
    assert len(load(earn={"multipliers": multipliers}).earn.multipliers) == 10_001


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(MONTH | {"review": QUARTERLY}, id="a quarter's first day is a month's"),
        pytest.param(YEAR | {"review": YEARLY, "kept_for": {"periods": 0}}, id="kept through the present period"),
    ],
)
def test_every_review_that_sees_a_periods_first_day_only_is_refused(options: dict[str, Any]):
    with pytest.raises(ValidationError, match="sees that day only"):
        load(upgrade="at_review", **options)


def test_all_problems_of_a_programme_are_named_at_once():
    with pytest.raises(ValidationError) as error:
        load(
            metric=None,
            window={"days": 3},
            programme=[{"name": "a", "at_least": 2}, {"name": "a", "at_least": 9}, {"name": "c", "at_least": 9}],
            kept_for={"periods": 1},
            soft_landing=True,
        )
    (problem,) = error.value.errors()
    assert problem["msg"].removeprefix("Value error, ").split("; ") == [
        "either window_days or window",
        "metric, since thresholds are plain numbers (of a, c)",
        "level names that differ",
        "programme thresholds that start at 0 and strictly increase (a is the lowest level)",
        "programme thresholds that start at 0 and strictly increase (a to c)",
        "kept_for.periods only for a window that is a period",
        "soft_landing only with reviews that are not every day",
    ]


def test_problems_of_several_parts_are_named_at_once():
    with pytest.raises(ValidationError) as error:
        load(review={"every": "day", "day": 2}, kept_for={}, grace_days=-1)
    assert {problem["loc"] for problem in error.value.errors()} == {("review",), ("kept_for",), ("grace_days",)}


@settings(max_examples=100, deadline=None)
@given(programmes())
def test_whoever_reaches_a_level_reaches_those_below(config: LevelsConfig):
    enough = all if config.reach == "all" else any
    for easier, harder in pairwise(config.thresholds[1:]):
        just = [harder] if config.reach == "all" else [{metric: least} for metric, least in harder.items()]
        for found in just:
            assert enough(found.get(metric, 0) >= least for metric, least in easier.items())
