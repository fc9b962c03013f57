"""The laws of the synthetic world, held on made members; no Spark. The numbers are those of fixed seeds."""

import json
from collections import defaultdict
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pyarrow as pa
import pytest

from memberlevel_spark.evaluation.reach import reachable_gain
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.synthetic.accounts import CHECK_IN, activities_of
from memberlevel_spark.synthetic.baskets import baskets_of, in_currency
from memberlevel_spark.synthetic.files import member_lines, product_lines, shop_of
from memberlevel_spark.synthetic.life import NO_DAY, futures_of, levels_of, live, live_day, newborn, pressure
from memberlevel_spark.synthetic.members import member_ids, members_of
from memberlevel_spark.synthetic.plan import RATE_STEPS, exchange_rates, rate_factor
from memberlevel_spark.synthetic.truth import truths_of
from tests.made_world import lived, world_config, world_plan

MANY = np.arange(4000)


def lines_of(plan, numbers: np.ndarray) -> list[tuple]:
    return sorted(tuple(row.values()) for batch in member_lines(plan, numbers) for row in batch.to_pylist())


def test_members_are_the_same_in_any_batch_and_other_seeds_give_others():
    plan = world_plan()
    together = lines_of(plan, np.arange(40))
    apart = sorted(lines_of(plan, np.arange(0, 13)) + lines_of(plan, np.arange(13, 40)))
    assert together == apart and len({row[0] for row in together}) == 6
    reseeded = world_plan().__class__(**{**vars(plan), "seed": plan.seed + 1})
    assert lines_of(reseeded, np.arange(40)) != together


def test_the_latent_state_follows_its_knobs():
    plan = world_plan()
    members = members_of(plan, MANY)
    knobs, buyers = plan.world.purchases, members.orders_per_day_M > 0
    assert 1 - buyers.mean() == pytest.approx(knobs.never_buys_share, abs=0.02)
    assert members.orders_per_day_M[buyers].mean() == pytest.approx(knobs.mean_orders_per_day, rel=0.05)
    assert (members.join_day_M == 0).mean() == pytest.approx(knobs.founding_share, abs=0.03)
    assert members.join_day_M.max() <= knobs.joining_days
    assert members.dropout_M.mean() == pytest.approx(0.5 / 16.5, rel=0.1)
    assert np.exp(np.median(members.log_basket_M)) == pytest.approx(plan.world.baskets.median_cents, rel=0.05)
    assert members.taste_MT.sum(axis=1) == pytest.approx(np.ones(len(MANY)))
    assert (members.currency_M == 0).mean() == pytest.approx(0.03, abs=0.01)
    assert len(set(member_ids(members))) == len(MANY)
    # Who joined too late for a campaign is not treated.
    spring = plan.day_of(plan.world.campaigns[0].first_day)
    assert not members.treated_CM[0, members.join_day_M > spring].any()


def test_nobody_orders_before_joining_or_after_leaving():
    plan = world_plan(num_members=1000)
    members = members_of(plan, np.arange(1000))
    orders = live(plan, members, newborn(plan, members), range(plan.num_days))
    assert (orders.day_E >= members.join_day_M[orders.member_E]).all()
    assert (members.orders_per_day_M[orders.member_E] > 0).all()
    last = np.full(1000, -1)
    np.maximum.at(last, orders.member_E, orders.day_E)
    left = orders.left_E
    assert left.sum() > 100 and (orders.day_E[left] == last[orders.member_E[left]]).all()
    assert len(np.unique(orders.member_E * 1000 + orders.day_E)) == len(orders)


def test_the_metric_is_the_trailing_sum_of_orders_less_refunds():
    """Against a plain sum over the orders of each member."""
    plan = world_plan()
    members = members_of(plan, np.arange(60))
    by_day, metric_DM, _ = lived(plan, members)
    change = np.zeros((plan.num_days + 400, 60), np.int64)
    for orders in by_day:
        np.add.at(change, (orders.day_E, orders.member_E), orders.cents_E)
        back = orders.refund_day_E != NO_DAY
        np.add.at(change, (orders.refund_day_E[back], orders.member_E[back]), -orders.refund_cents_E[back])
    for day in (0, 50, 90, 91, 200, plan.num_days - 1):
        window = change[max(day - plan.rules.window_days + 1, 0) : day + 1]
        assert metric_DM[day].tolist() == window.sum(axis=0).tolist()


def test_levels_are_those_of_the_level_rules():
    plan = world_plan()
    rules = LevelRules(world_config().levels)
    values = np.array([-500, 0, 9_999, 10_000, 24_999, 25_000, 50_000, 10**9])
    assert levels_of(plan, values).tolist() == [rules.reached({"spend_cents": int(value)}) for value in values]


def test_pressure_grows_towards_the_next_threshold_and_ends_at_the_top():
    plan = world_plan(pressure={"reach_share": 0.5, "strength": 2.0, "goal_share": 1.0})
    # The band from 100.00 to 250.00 is 150.00 wide: nothing up to 175.00, half of it at 212.50.
    assert pressure(plan, np.array([10_000, 17_500, 21_250, 24_999])) == pytest.approx([0, 0, 0.5, 1], abs=1e-3)
    assert pressure(plan, np.array([50_000, 10**8])).tolist() == [0, 0]


def test_points_pressure_shows_in_the_orders():
    """Near a threshold those with a goal order 1 + strength × nearness times as often, the others do not."""
    plan = world_plan(pressure={"goal_share": 0.5, "strength": 2.0, "reach_share": 0.35})
    members = members_of(plan, MANY)
    state, expected, ordered = newborn(plan, members), defaultdict(float), defaultdict(int)
    for day in range(250):
        alive = state.alive[0].copy()
        metric = state.metric[0] + state.changes_on(day)[0] - state.changes_on(day - plan.rules.window_days)[0]
        orders = live_day(plan, members, state, day)
        bought = np.zeros(len(members), bool)
        bought[orders.member_E] = True
        base = members.orders_per_day_M * plan.rate_factor_D[day] * (members.join_day_M <= day) * alive
        near = pressure(plan, metric) > 0.6
        for goal in (False, True):
            chosen = near & ((members.goal_M > 0) == goal)
            expected[goal] += -np.expm1(-base[chosen]).sum()
            ordered[goal] += int(bought[chosen].sum())
    assert ordered[False] / expected[False] == pytest.approx(1.0, abs=0.15)
    assert 2.3 < ordered[True] / expected[True] < 3.1


def test_the_measured_uplift_of_a_campaign_is_the_true_one():
    campaign = {"name": "big", "first_day": date(2024, 4, 15), "num_days": 40, "uplift": 1.6, "treated_share": 0.5}
    plan = world_plan(campaigns=[campaign], pressure={"goal_share": 0.0})
    members = members_of(plan, MANY)
    treated, there = members.treated_CM[0], members.join_day_M <= plan.day_of(campaign["first_day"])
    assert treated[there].mean() == pytest.approx(0.5, abs=0.03)
    state, num = newborn(plan, members), np.zeros(2)
    alive_days = np.zeros(2)
    for day in range(plan.day_of(campaign["first_day"]) + 40):
        alive = state.alive[0] & there & (members.orders_per_day_M > 0)
        orders = live_day(plan, members, state, day)
        if plan.campaigns_on(day):
            num += [(~treated & there)[orders.member_E].sum(), treated[orders.member_E].sum()]
            rate = members.orders_per_day_M * alive
            alive_days += [rate[~treated].sum(), rate[treated].sum()]
    assert (num[1] / alive_days[1]) / (num[0] / alive_days[0]) == pytest.approx(1.6, rel=0.08)


def test_season_and_drift_change_the_rate_from_their_day():
    drift = {"from_day": date(2024, 9, 1), "rate_factor": 0.5, "basket_factor": 1.3}
    plain, drifted = world_plan(), world_plan(drift=drift)
    day = plain.day_of(date(2024, 9, 1))
    assert (drifted.rate_factor_D[:day] == plain.rate_factor_D[:day]).all()
    assert drifted.rate_factor_D[day:] == pytest.approx(0.5 * plain.rate_factor_D[day:])
    assert np.exp(drifted.log_basket_shift_D[[day - 1, day]]) == pytest.approx([1.0, 1.3])
    saturday, tuesday = rate_factor(plain.world, date(2024, 12, 7)), rate_factor(plain.world, date(2024, 6, 4))
    assert saturday == pytest.approx(1.25 * 1.25, rel=0.01) and tuesday == pytest.approx(0.75 * 0.9, rel=0.01)


def test_the_future_goes_on_from_the_past_by_the_same_law():
    """With one shared stream of draws, living on gives the very days that the past gives."""
    plan = world_plan()
    members = members_of(plan, np.arange(200))
    past, split = newborn(plan, members), 200
    live(plan, members, past, range(split))
    future = futures_of(plan, members, past, split - 1, 3)
    future.keys[:] = past.keys
    days = range(split, split + plan.label.reach_days)
    expected, found = live(plan, members, past, days), live(plan, members, future, days)
    for number in range(3):
        mine = found.future_E == number
        assert found.cents_E[mine].tolist() == expected.cents_E.tolist()
    assert (future.metric == past.metric).all() and (future.alive == past.alive).all()


@pytest.fixture(scope="module")
def forecast():
    """Truth and realised levels of 1,500 members on the test date."""
    plan = world_plan(truth={"num_futures": 100})
    members = members_of(plan, np.arange(1500))
    _, metric_DM, _ = lived(plan, members)
    truths = {truth.day: truth for truth in truths_of(plan, members)}
    truth = truths[plan.day_of(date(2025, 1, 7))]
    realised = levels_of(plan, metric_DM[truth.day + plan.label.reach_days][truth.member_M])
    assert truth.level_now_M.tolist() == levels_of(plan, metric_DM[truth.day][truth.member_M]).tolist()
    return plan, truth, realised


def test_truth_is_told_for_every_date_and_sums_to_one(forecast):
    plan, truth, _ = forecast
    assert [plan.date_of(day) for day in plan.as_of_days] == [date(2024, 12, 10), date(2025, 1, 7), date(2025, 2, 4)]
    assert truth.p_level_MK.sum(axis=1) == pytest.approx(np.ones(len(truth.member_M)), abs=1e-12)
    assert (truth.p_level_MK >= 0).all() and (truth.orders_M >= 0).all()


def test_truth_is_calibrated_against_what_happened(forecast):
    """Each level, overall and by tenths of its probability: misses in units of their standard deviation."""
    plan, truth, realised = forecast
    squares = []
    for level in range(plan.rules.num_levels):
        p, happened = truth.p_level_MK[:, level], realised == level
        assert abs((happened - p).sum()) < 3.5 * np.sqrt((p * (1 - p)).sum())
        for lowest in np.arange(0.0, 1.0, 0.1):
            chosen = (p >= lowest) & (p < lowest + 0.1) & (p > 0.01)
            if (p[chosen] * (1 - p[chosen])).sum() > 5:
                squares.append((happened - p)[chosen].sum() ** 2 / (p * (1 - p))[chosen].sum())
    # The sum of independent squares has mean n and standard deviation sqrt(2n).
    assert len(squares) > 15 and sum(squares) < len(squares) + 4 * np.sqrt(2 * len(squares))


def test_expected_orders_and_spend_are_those_that_came(forecast):
    plan, truth, _ = forecast
    members = members_of(plan, np.arange(1500))
    by_day, _, state = lived(plan, members)
    window = slice(truth.day + 1, truth.day + 1 + plan.label.reach_days)
    num = np.zeros(1500)
    for orders in by_day[window]:
        num[orders.member_E] += 1
    cents = state.earned[window, 0].sum(axis=0)
    assert truth.orders_M.sum() == pytest.approx(num.sum(), rel=0.08)
    assert truth.cents_M.sum() == pytest.approx(cents.sum(), rel=0.08)
    assert np.corrcoef(truth.orders_M, num)[0, 1] > 0.5 and np.corrcoef(truth.cents_M, cents)[0, 1] > 0.4


def test_no_level_is_empty_and_persistence_is_neither_useless_nor_perfect(forecast):
    _, truth, realised = forecast
    shares = np.bincount(truth.level_now_M, minlength=4) / len(truth.member_M)
    assert shares.min() > 0.05
    assert 0.75 < (truth.level_now_M == realised).mean() < 0.85
    assert (truth.p_level_MK.argmax(axis=1) == realised).mean() > (truth.level_now_M == realised).mean() + 0.04


def test_who_has_left_has_one_future(forecast):
    _, truth, realised = forecast
    settled = truth.p_level_MK.max(axis=1) == 1.0
    assert settled.sum() > 200 and (truth.orders_M[settled] == 0).all()
    assert (truth.p_level_MK.argmax(axis=1)[settled] == realised[settled]).all()


def test_the_share_of_the_reachable_gain():
    realised = [0, 1, 1, 0]
    persistence, truth = [[0.5, 0.5]] * 4, [[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]]
    model = [[0.6, 0.4], [0.4, 0.6], [0.4, 0.6], [0.6, 0.4]]
    reach = reachable_gain(realised, {"model": model, "persistence": persistence}, truth)
    by_hand = (np.log(2) + np.log(0.6)) / (np.log(2) + np.log(0.9))
    assert {name: found["share"] for name, found in reach.items()} == {
        "model": pytest.approx(by_hand),
        "persistence": 0,
        "truth": 1,
    }
    assert reach["model"]["log_loss"] == pytest.approx(-np.log(0.6))
    assert reachable_gain(realised, {"persistence": truth}, truth)["truth"]["share"] is None


def test_lines_add_up_to_their_order_and_convert_back_to_the_same_cents():
    plan = world_plan(
        currencies=[
            {"code": "JPY", "share": 0.4, "rate": 0.00612, "minor_unit_digits": 0},
            {"code": "KWD", "share": 0.4, "rate": 2.98, "minor_unit_digits": 3},
        ]
    )
    members = members_of(plan, np.arange(150))
    orders = live(plan, members, newborn(plan, members), range(plan.num_days))
    baskets = baskets_of(plan, members, orders)
    assert np.bincount(baskets.order_L, weights=baskets.cents_L).tolist() == orders.cents_E.tolist()
    assert baskets.cents_L.min() >= 0 and baskets.product_L.max() < plan.world.catalogue.num_products
    currency, day = members.currency_M[orders.member_E[baskets.order_L]], orders.day_E[baskets.order_L]
    amount, digits = in_currency(plan, currency, day, baskets.cents_L)
    rates = [exchange_rates(plan, number) for number in range(2)]
    checked = 0
    for row in np.flatnonzero(currency >= 0)[:2000]:
        rate = Decimal(int(rates[currency[row]][day[row]])) / RATE_STEPS
        cents = (Decimal(int(amount[row])) / 10 ** int(digits[row]) * rate * 100).quantize(Decimal(1), ROUND_HALF_UP)
        assert int(cents) == baskets.cents_L[row]
        checked += 1
    assert checked == 2000


def test_refunds_never_exceed_their_order_and_come_after_it():
    plan = world_plan()
    members = members_of(plan, np.arange(1000))
    orders = live(plan, members, newborn(plan, members), range(plan.num_days))
    back = orders.refund_day_E != NO_DAY
    assert back.mean() == pytest.approx(plan.world.refunds.refund_share, abs=0.01)
    assert (orders.refund_cents_E <= orders.cents_E).all() and (orders.refund_cents_E[~back] == 0).all()
    days = (orders.refund_day_E - orders.day_E)[back]
    assert days.min() == 0 and days.max() == plan.world.refunds.max_days
    cancelled = orders.cancelled_E
    assert (orders.refund_cents_E[cancelled] == orders.cents_E[cancelled]).all()
    assert (orders.refund_day_E[cancelled] == orders.day_E[cancelled]).all()


def test_guests_have_no_user_before_their_first_login():
    plan = world_plan()
    rows = lines_of(plan, np.arange(80))
    clicks = [json.loads(row[4]) for row in rows if row[0] == "clicks"]
    linked = {row["cookie"]: row for row in (json.loads(row[4]) for row in rows if row[0] == "devices")}
    guests = 0
    for click in clicks:
        link = linked.get(click["cookie"])
        if link is None or click["at"] < link["linked_at"]:
            assert "user" not in click
            guests += 1
        elif "user" in click:
            assert click["user"] == link["customer"]
    assert 0.005 < guests / len(clicks) < 0.2
    # Nobody orders as a guest.
    assert all("user" in click for click in clicks if click["event"] == "begin_checkout")
    assert len({click["id"] for click in clicks}) == len(clicks)


def test_every_order_ends_a_session_of_clicks_on_its_products():
    plan = world_plan()
    shop = shop_of(plan, np.arange(50))
    clicks, orders, baskets = shop.clicks, shop.orders, shop.baskets
    added = set(zip(clicks.member_K.tolist(), clicks.day_K.tolist(), clicks.product_K.tolist(), strict=True))
    of_line = baskets.order_L
    lines = zip(
        orders.member_E[of_line].tolist(), orders.day_E[of_line].tolist(), baskets.product_L.tolist(), strict=True
    )
    assert set(lines) <= added
    assert (clicks.kind_K == 4).sum() == len(orders)
    assert (clicks.second_K >= 0).all() and (clicks.second_K < 86_400).all()


def test_no_click_falls_into_the_hours_in_which_clocks_change():
    plan = world_plan()
    for row in lines_of(plan, np.arange(40)):
        if row[0] == "clicks":
            click = json.loads(row[4])
            assert "06:00" < click["at"][11:16] < "23:00" and click["at"] <= click["received_at"]


def test_a_member_who_left_is_seen_less():
    """Check-ins per day, measured against each member's own habit."""
    plan = world_plan()
    shop = shop_of(plan, np.arange(2500))
    members, left_day = shop.members, np.full(2500, plan.num_days)
    left_day[shop.orders.member_E[shop.orders.left_E]] = shop.orders.day_E[shop.orders.left_E]
    activities = activities_of(plan, members, shop.orders, shop.baskets)
    late = (activities.kind_A == CHECK_IN) & (activities.day_A > 200)
    seen = np.bincount(activities.member_A[late], minlength=2500)
    gone, there = left_day < 200, left_day == plan.num_days
    habit_days = members.check_ins_M * (plan.num_days - 201)
    assert seen[there].sum() / habit_days[there].sum() == pytest.approx(1.0, abs=0.08)
    assert seen[gone].sum() / habit_days[gone].sum() == pytest.approx(plan.world.clicks.left_share, abs=0.04)


def test_the_catalogue_has_a_category_and_a_price_for_every_product():
    (batch,) = product_lines(world_plan(), np.arange(600))
    rows = batch.column(4)
    cells = [line.split(",") for line in rows.to_pylist()]
    assert len({sku for sku, *_ in cells}) == 600 and len({category for _, category, *_ in cells}) == 10
    assert all(float(price) > 1 for *_, price in cells)
    assert isinstance(rows, pa.StringArray)
