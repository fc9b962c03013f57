"""One day of members' lives, and days in a row: the one law by which both the past and all possible futures are lived.

A purchase, its value, its refund and whether the member leaves afterwards are drawn day by day, because points pressure
makes today's rate depend on what was bought before. Everything the shop can observe follows from these draws and never
runs ahead of them. No Spark.

Shapes: F futures (1 for the past), M members, N days, E orders.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memberlevel_spark.synthetic.draws import Floats, Keys, Purpose, child, normals, uniforms
from memberlevel_spark.synthetic.members import Bools, Ints, Members
from memberlevel_spark.synthetic.plan import WorldPlan

SMALLEST_ORDER_CENTS = 100
DRAWS_PER_DAY = 8  # 0 purchase, 1-2 basket, 3 refund, 4 its day, 5 its kind, 6 its share, 7 leaving
NO_DAY = -1


@dataclass
class State:
    """Where lives stand at the end of a day, and what is already known about later days."""

    keys: Keys  # [F, M], the random stream of each life
    alive: Bools  # [F, M], has not left
    metric: Ints  # [F, M], the level metric over the trailing window
    first_day: int  # of ``earned``
    earned: Ints  # [N, F, M], net change of the metric by day, refunds to come included
    before: Ints  # [window, M], the same for the days before ``first_day``

    def changes_on(self, day: int) -> Ints:
        """Net change of the metric on a day, past or known already; [F or 1, M]."""
        if day >= self.first_day:
            return self.earned[day - self.first_day]
        return self.before[day - self.first_day + len(self.before)][None, :]


@dataclass(frozen=True)
class Orders:
    """E orders, each of one life; amounts in minor units, ``refund_day`` NO_DAY without a refund."""

    future_E: Ints
    member_E: Ints  # position, not number
    day_E: Ints
    cents_E: Ints
    refund_day_E: Ints
    refund_cents_E: Ints
    cancelled_E: Bools
    left_E: Bools  # the member leaves after it

    def __len__(self) -> int:
        return len(self.day_E)


def newborn(plan: WorldPlan, members: Members) -> State:
    """The members before the first day."""
    num, days = len(members), plan.num_days + plan.world.refunds.max_days
    return State(
        keys=members.keys(plan, Purpose.HISTORY)[None, :],
        alive=np.ones((1, num), bool),
        metric=np.zeros((1, num), np.int64),
        first_day=0,
        earned=np.zeros((days, 1, num), np.int64),
        before=np.zeros((plan.rules.window_days, num), np.int64),
    )


def futures_of(plan: WorldPlan, members: Members, past: State, day: int, num_futures: int) -> State:
    """``num_futures`` independent continuations of the past after the end of ``day``; [F, M] from [1, M]."""
    shape = (num_futures, len(members))
    known = np.zeros((plan.label.reach_days + plan.world.refunds.max_days, *shape), np.int64)
    # Refunds of past orders are under way already.
    pending = past.earned[day + 1 : day + 1 + plan.world.refunds.max_days]
    known[: len(pending)] = pending
    of_day = child(members.keys(plan, Purpose.FUTURE), day)
    return State(
        keys=child(of_day[None, :], np.arange(num_futures)[:, None]),
        alive=np.broadcast_to(past.alive, shape).copy(),
        metric=np.broadcast_to(past.metric, shape).copy(),
        first_day=day + 1,
        earned=known,
        before=np.stack([past.changes_on(day - back)[0] for back in reversed(range(plan.rules.window_days))]),
    )


def live_day(plan: WorldPlan, members: Members, state: State, day: int) -> Orders:
    """Live one day: ``state`` moves from the end of the day before to the end of this one; returns the day's orders."""
    state.metric += state.changes_on(day)
    state.metric -= state.changes_on(day - plan.rules.window_days)
    rate_M = daily_rate(plan, members, day)
    drawn = uniforms(state.keys, day * DRAWS_PER_DAY)
    # 1 - exp(-x) <= x: whoever does not pass the largest rate cannot buy, and the few others are looked at closely.
    future, member = np.nonzero(drawn < rate_M * (1.0 + members.goal_M))
    may = state.alive[future, member]
    future, member = future[may], member[may]
    rate = rate_M[member] * (1.0 + members.goal_M[member] * pressure(plan, state.metric[future, member]))
    buys = drawn[future, member] < -np.expm1(-rate)
    orders = _orders(plan, members, state.keys, day, (future[buys], member[buys]))
    _book(state, orders, day)
    return orders


def live(plan: WorldPlan, members: Members, state: State, days: Sequence[int]) -> Orders:
    """Live days in a row."""
    by_day = [live_day(plan, members, state, day) for day in days]
    return Orders(**{name: np.concatenate([vars(orders)[name] for orders in by_day]) for name in vars(by_day[0])})


def daily_rate(plan: WorldPlan, members: Members, day: int) -> Floats:
    """Orders a day before points pressure; 0 before a member has joined; [M]."""
    rate_M = members.orders_per_day_M * plan.rate_factor_D[day] * (members.join_day_M <= day)
    for number, campaign in plan.campaigns_on(day):
        rate_M = np.where(members.treated_CM[number], rate_M * campaign.uplift, rate_M)
    return np.asarray(rate_M)


def pressure(plan: WorldPlan, metric: Ints) -> Floats:
    """How near the next level is: 0 farther off than the reach and on the top level, up to 1 right below it."""
    thresholds = np.array(plan.rules.thresholds)
    level = levels_of(plan, metric)
    upper = np.minimum(level + 1, len(thresholds) - 1)
    missing, band = thresholds[upper] - metric, thresholds[upper] - thresholds[level]
    near = 1.0 - missing / np.maximum(band * plan.world.pressure.reach_share, 1.0)
    return np.where(upper > level, np.clip(near, 0.0, 1.0), 0.0)


def levels_of(plan: WorldPlan, metric: Ints) -> Ints:
    """``LevelRules.level_of`` of every value."""
    return np.maximum(np.searchsorted(plan.rules.thresholds, metric, side="right") - 1, 0)


def _orders(plan: WorldPlan, members: Members, keys: Keys, day: int, who: tuple[Ints, Ints]) -> Orders:
    """What the lives that buy today buy, give back, and whether they come again."""
    future, member = who
    key, draw, knobs = keys[future, member], day * DRAWS_PER_DAY, plan.world.refunds
    log_cents = members.log_basket_M[member] + plan.log_basket_shift_D[day]
    log_cents = log_cents + plan.world.baskets.sd_within * normals(key, draw + 1)
    cents = np.maximum(np.rint(np.exp(log_cents)), SMALLEST_ORDER_CENTS).astype(np.int64)
    refunded = uniforms(key, draw + 3) < knobs.refund_share
    kind = uniforms(key, draw + 5)
    cancelled = refunded & (kind < knobs.cancelled_share)
    delay = 1 + np.floor(uniforms(key, draw + 4) * knobs.max_days).astype(np.int64)
    refund_day = day + np.where(cancelled, 0, delay)
    part = uniforms(key, draw + 6)
    # Below the share of whole returns everything comes back; the rest of the draw is stretched over 0.2 to 0.9.
    rest = (part - knobs.whole_share) / max(1.0 - knobs.whole_share, 1e-9)
    share = np.where(cancelled | (part < knobs.whole_share), 1.0, 0.2 + 0.7 * rest)
    return Orders(
        future_E=future,
        member_E=member,
        day_E=np.full(len(member), day),
        cents_E=cents,
        refund_day_E=np.where(refunded, refund_day, NO_DAY),
        refund_cents_E=np.where(refunded, np.rint(cents * share).astype(np.int64), 0),
        cancelled_E=cancelled,
        left_E=uniforms(key, draw + 7) < members.dropout_M[member],
    )


def _book(state: State, orders: Orders, day: int) -> None:
    """Enter the day's orders: at most one a life, so no two entries meet in one place."""
    future, member = orders.future_E, orders.member_E
    back = np.flatnonzero(orders.refund_cents_E)
    today = back[orders.refund_day_E[back] == day]
    gain = orders.cents_E.copy()
    gain[today] -= orders.refund_cents_E[today]
    state.metric[future, member] += gain
    state.earned[day - state.first_day, future, member] += gain
    later = np.setdiff1d(back, today, assume_unique=True)
    due = orders.refund_day_E[later] - state.first_day
    state.earned[due, future[later], member[later]] -= orders.refund_cents_E[later]
    state.alive[future, member] &= ~orders.left_E
