"""Who the members are: the latent state behind everything they do. No Spark.

Shapes: M members, C campaigns, T categories (tastes).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.synthetic.draws import Floats, Keys, Purpose, child, root_key, uniforms
from memberlevel_spark.synthetic.plan import WorldPlan

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

HOME_CURRENCY = -1
# Ids begin with the region the card was handed out in; two of them need more than ASCII.
REGIONS = ("BE", "HH", "KÖ", "MÜ", "FR")
# Members have at least one device; each further one is this likely.
FURTHER_DEVICE_SHARE = 0.3


@dataclass(frozen=True)
class Members:
    """Latent state of M members; no two members share anything but the plan."""

    number_M: Ints
    join_day_M: Ints
    orders_per_day_M: Floats  # 0: never buys
    dropout_M: Floats  # probability to leave after an order
    log_basket_M: Floats  # log of the median order in minor units
    goal_M: Floats  # strength of the points pressure, 0 without a goal
    currency_M: Ints  # number of the currency, HOME_CURRENCY for the shop's
    browsing_M: Floats  # sessions a day while a member
    check_ins_M: Floats  # a day
    num_devices_M: Ints
    region_M: Ints
    taste_MT: Floats  # shares that sum to 1
    treated_CM: Bools

    def __len__(self) -> int:
        return len(self.number_M)

    def pick(self, chosen: Ints) -> "Members":
        """Some of the members, in the order of ``chosen``."""
        parts = {name: values[chosen] for name, values in vars(self).items() if name != "treated_CM"}
        return Members(treated_CM=self.treated_CM[:, chosen], **parts)

    def keys(self, plan: WorldPlan, purpose: Purpose) -> Keys:
        """A key per member for one purpose; uint64 [M]."""
        return child(root_key(plan.seed, purpose), self.number_M)


def members_of(plan: WorldPlan, numbers: Ints) -> Members:
    """Draw the latent state of the members with these numbers; each depends on its own number only."""
    keys = child(root_key(plan.seed, Purpose.MEMBER), numbers)
    drawn = [_one_member(plan, int(key)) for key in keys]
    columns = {name: np.array([row[name] for row in drawn]) for name in drawn[0]}
    treated_CM = _treated(plan, numbers, columns["join_day_M"])
    return Members(number_M=numbers, treated_CM=treated_CM, **columns)


def member_ids(members: Members) -> list[str]:
    """The id of each member, in Unicode's composed form."""
    pairs = zip(members.region_M.tolist(), members.number_M.tolist(), strict=True)
    return [f"{REGIONS[region]}{number:09d}" for region, number in pairs]


def _treated(plan: WorldPlan, numbers: Ints, join_day_M: Ints) -> Bools:
    """Who gets the mail of each campaign: a random share of those who are members on its first day."""
    keys, campaigns = child(root_key(plan.seed, Purpose.TREATED), numbers), plan.world.campaigns
    treated_CM = np.zeros((len(campaigns), len(numbers)), bool)
    for number, campaign in enumerate(campaigns):
        chosen = uniforms(keys, number) < campaign.treated_share
        treated_CM[number] = chosen & (join_day_M <= plan.day_of(campaign.first_day))
    return treated_CM


def _one_member(plan: WorldPlan, key: int) -> dict[str, object]:
    """One member's latent state; the order of the draws is part of the law."""
    world, rng = plan.world, np.random.Generator(np.random.Philox(key=key))
    founder, late_day = rng.random() < world.purchases.founding_share, rng.integers(1, world.purchases.joining_days + 1)
    buys = rng.random() >= world.purchases.never_buys_share
    rate = rng.gamma(world.purchases.shape, world.purchases.mean_orders_per_day / world.purchases.shape)
    dropout, basket = rng.beta(world.dropout.alpha, world.dropout.beta), rng.standard_normal()
    has_goal = rng.random() < world.pressure.goal_share
    browsing, check_ins = rng.standard_normal(), rng.gamma(2.0, 0.5)
    return {
        "join_day_M": 0 if founder else int(late_day),
        "orders_per_day_M": rate if buys else 0.0,
        "dropout_M": dropout,
        "log_basket_M": np.log(world.baskets.median_cents) + world.baskets.sd_between * basket,
        "goal_M": world.pressure.strength if has_goal else 0.0,
        "currency_M": _currency(plan, rng.random()),
        # The mean of a lognormal is exp(mu + sd²/2).
        "browsing_M": world.clicks.browsing_per_day
        * np.exp(world.clicks.browsing_sd * browsing - world.clicks.browsing_sd**2 / 2),
        "check_ins_M": world.clicks.check_ins_per_day * check_ins,
        "num_devices_M": _num_devices(plan, rng.random()),
        "region_M": int(rng.integers(len(REGIONS))),
        "taste_MT": rng.dirichlet(np.full(world.catalogue.num_categories, world.catalogue.taste_concentration)),
    }


def _currency(plan: WorldPlan, drawn: float) -> int:
    edges = np.cumsum([currency.share for currency in plan.world.currencies])
    number = int(np.searchsorted(edges, drawn, side="right"))
    return number if number < len(edges) else HOME_CURRENCY


def _num_devices(plan: WorldPlan, drawn: float) -> int:
    further = int(np.log(drawn) / np.log(FURTHER_DEVICE_SHARE)) if drawn > 0 else 0
    return min(1 + further, plan.world.clicks.max_devices)
