"""The truth: level probabilities of each member at an as-of date, given the latent state, by living the future often.

No forecast made from data can be better on average: a model sees only what the latent state left behind. No Spark.

Shapes: M members, F futures, K levels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from memberlevel_spark.synthetic.draws import Floats
from memberlevel_spark.synthetic.life import State, futures_of, levels_of, live, live_day, newborn
from memberlevel_spark.synthetic.members import Ints, Members
from memberlevel_spark.synthetic.plan import WorldPlan

# Lives of one block; more does not fit the processor's cache.
LIVES_AT_ONCE = 20_000
# Added to the count of every level: a level that no future reached is rare, not impossible.
PSEUDO_COUNT = 0.1


@dataclass(frozen=True)
class Truth:
    """What is true of M members after an as-of day; sums and means are over the label window."""

    day: int
    member_M: Ints  # position among the members given
    level_now_M: Ints
    p_level_MK: Floats
    orders_M: Floats  # expected number
    cents_M: Floats  # expected net spend


def truths_of(plan: WorldPlan, members: Members) -> Iterator[Truth]:
    """The truth on each as-of day, of the members who had joined by then."""
    state, lived = newborn(plan, members), 0
    for day in plan.as_of_days:
        for today in range(lived, day + 1):
            live_day(plan, members, state, today)
        lived = day + 1
        yield _truth_on(plan, members, state, day)


def _truth_on(plan: WorldPlan, members: Members, past: State, day: int) -> Truth:
    joined = np.flatnonzero(members.join_day_M <= day)
    may_buy = past.alive[0] & (members.orders_per_day_M > 0)
    p_level_MK = np.zeros((len(members), plan.rules.num_levels))
    orders_M, cents_M = np.zeros(len(members)), np.zeros(len(members))
    settled, open_ = joined[~may_buy[joined]], joined[may_buy[joined]]
    # Whoever cannot buy again has one future only.
    blocks = [(settled, 1)] + [(block, plan.world.truth.num_futures) for block in _blocks(plan, open_)]
    for block, num_futures in blocks:
        if len(block):
            found = _futures(plan, members, past, block, (day, num_futures))
            p_level_MK[block], orders_M[block], cents_M[block] = found
    level_now = levels_of(plan, past.metric[0, joined])
    return Truth(day, joined, level_now, p_level_MK[joined], orders_M[joined], cents_M[joined])


def _blocks(plan: WorldPlan, chosen: Ints) -> list[Ints]:
    size = max(1, LIVES_AT_ONCE // plan.world.truth.num_futures)
    return [chosen[start : start + size] for start in range(0, len(chosen), size)]


def _futures(
    plan: WorldPlan, members: Members, past: State, block: Ints, of: tuple[int, int]
) -> tuple[Floats, Floats, Floats]:
    """Level probabilities, expected orders and expected net spend of some members over their futures."""
    day, num_futures = of
    some = members.pick(block)
    state = futures_of(plan, some, _pick(past, block), day, num_futures)
    orders = live(plan, some, state, range(day + 1, day + 1 + plan.label.reach_days))
    first = plan.label.gap_days
    in_window = orders.day_E > day + first
    num_orders = np.bincount(orders.member_E[in_window], minlength=len(block)) / num_futures
    cents = state.earned[first : plan.label.reach_days].sum(axis=0).mean(axis=0)
    return _shares(plan, levels_of(plan, state.metric)), num_orders, cents


def _shares(plan: WorldPlan, level_FM: Ints) -> Floats:
    """Share of the futures that end on each level; exact for a single one."""
    reached_MK = np.stack([(level_FM == level).sum(axis=0) for level in range(plan.rules.num_levels)], axis=1)
    extra = PSEUDO_COUNT if len(level_FM) > 1 else 0.0
    return np.asarray((reached_MK + extra) / (len(level_FM) + extra * plan.rules.num_levels))


def _pick(state: State, chosen: Ints) -> State:
    return State(
        keys=state.keys[:, chosen],
        alive=state.alive[:, chosen],
        metric=state.metric[:, chosen],
        first_day=state.first_day,
        earned=state.earned[:, :, chosen],
        before=state.before[:, chosen],
    )
