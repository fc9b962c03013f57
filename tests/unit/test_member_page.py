"""The page of one member, and the words reasons are told in."""

from datetime import date

from memberlevel_spark.examples.encoder import Encoder, Input
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.report.member_page import Programme, member_page
from memberlevel_spark.scoring.topics import spoken, topics

PROGRAMME = Programme(("bronze", "silver", "gold"), ((), ("free returns",), ("a gift",)), "USD", date(2018, 1, 28), 0.5)
SCORE = {
    "member_id": "a1b2",
    "as_of_date": date(2017, 12, 31),
    "model_version": "m1",
    "level_now": 1,
    "p_level": [0.25, 0.7, 0.05],
    "p_churn": 0.125,
    "expected_orders": 3.25,
    "expected_spend_cents": 4567.0,
    "spend_cents_low": 0.0,
    "spend_cents_median": 4000.0,
    "spend_cents_high": 9000.0,
}
REASONS = {
    "level_now": 1,
    **{f"p_{outcome}": 0.3 for outcome in ("up", "down", "buy")},
    **{f"typical_p_{outcome}": 0.1 for outcome in ("up", "down", "buy")},
    **{
        f"reasons_{outcome}": [{"topic": f"topic {n}", "effect": 0.1 - 0.01 * n} for n in range(7)]
        for outcome in ("up", "down", "buy")
    },
}


def advice(goal: str, **changes: object) -> dict[str, object]:
    row = {"goal": goal, "target_level": 2 if goal == "rise" else 1, "metric": "spend_cents", "needed": 20000}
    return {**row, "p_now": 0.05, "extra": 12345, "p_with_extra": 0.5, "monotone": True, **changes}


PAGE = """\
member a1b2
as of 31 Dec 2017, model m1

level now       silver
on 28 Jan 2018  bronze 25.0 %   silver 70.0 %   gold 5.0 %
no order        12.5 %
orders          3.2 expected
spend           45.67 USD expected; 8 of 10 such members between 0.00 USD and 90.00 USD

Why the chance to move up is 30.0 % (typical member on silver: 10.0 %)
   +10.0  topic 0
    +9.0  topic 1
    +8.0  topic 2
    +7.0  topic 3
    +6.0  topic 4
    +9.0  everything else
"""
ADVICE = """\
What makes a level at least 50.0 % likely, 28 Jan 2018
  reach gold: 123.45 USD more spend make it 50.0 % likely; the rules ask for 200.00 USD; now 5.0 % likely
    at stake: a gift
  keep silver: now 75.0 % likely without more spend; the rules ask for 200.00 USD
    at stake: free returns"""


def test_the_page_tells_the_forecast_the_reasons_and_what_would_tip_the_member():
    page = member_page(SCORE, REASONS, [advice("keep", extra=0, p_now=0.75), advice("rise")], PROGRAMME)
    assert page.startswith(PAGE) and page.endswith(ADVICE)
    assert page.count("Why the chance") == 3 and "\u00a0" not in page


def test_the_page_tells_what_the_first_order_will_be_of_where_the_model_does():
    told = [{"category": "wine", "p": 0.375}, {"category": "(other)", "p": 0.1}]
    page = member_page({**SCORE, "next_categories": told}, REASONS, [], PROGRAMME)
    line = "first order of  wine 37.5 %   (other) 10.0 %"
    assert page.splitlines()[8] == line
    assert page.replace(f"{line}\n", "") == member_page({**SCORE, "next_categories": None}, REASONS, [], PROGRAMME)


def test_a_member_at_the_top_is_not_told_why_they_do_not_rise():
    page = member_page({**SCORE, "level_now": 2}, {**REASONS, "level_now": 2}, [], PROGRAMME)
    assert "move up" not in page and "Why the chance to move down" in page


def test_a_member_without_reasons_is_told_so():
    assert "not kept for this member" in member_page(SCORE, None, [], PROGRAMME)


def test_what_is_no_way_to_a_level_and_what_does_not_suffice_is_said():
    rows = [advice("rise", needed=None, extra=None), advice("keep", metric="num_orders", needed=3, extra=None)]
    page = member_page(SCORE, REASONS, [*rows, advice("rise", monotone=False, metric="points", extra=7)], PROGRAMME)
    assert "reach gold: spend is no way to it; now 5.0 % likely" in page
    assert "keep silver: not by more orders alone; the rules ask for 3; now 5.0 % likely" in page
    assert "7 more points make it 50.0 % likely" in page and "does not always grow with the amount" in page


def test_every_encoded_feature_has_a_topic_in_plain_words():
    declared = [
        Feature("spend_cents", "sum", window_days=28),
        Feature("num_orders", "days_since"),
        Feature("spend_cents_by_category", "entropy", window_days=28),
        Feature("channels", "num_distinct", window_days=28),
        Feature("num_events_by_hour", "entropy", window_days=28),
        Feature("as_of_date", "month"),
        Feature("spend_cents", "weekend_share", window_days=28),
    ]
    columns = [*(f.name for f in declared), "profile_home_ownership", "tenure_days", "level_if_idle"]
    inputs = [*(Input(name) for name in columns), Input("weekly_num_items", 0)]
    made = Encoder(tuple(inputs), 2, (0.0,) * len(inputs), (1.0,) * len(inputs))
    assert topics(made, declared) == (
        *("spend", "how recently, how often", "what they buy", "where they shop", "when they shop", "time of year"),
        *("when they shop", "home ownership", "time as a member", "level and progress", "items"),
        *("level and progress",) * 2,
    )


def test_measures_are_spoken_without_their_units():
    assert [spoken(m) for m in ("spend_cents", "num_orders", "num_cart_adds", "points")] == [
        *("spend", "orders", "cart adds", "points")
    ]
