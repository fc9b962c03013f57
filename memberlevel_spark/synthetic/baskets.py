"""What is in an order: when it was placed, its lines, and what they cost in the member's currency. No Spark.

The value of an order comes from ``life.py``; here it is spread over lines, to the last cent.
Shapes: E orders, L order lines.
"""

from dataclasses import dataclass

import numpy as np

from memberlevel_spark.synthetic.draws import Floats, Keys, Purpose, child, counts, root_key, uniforms
from memberlevel_spark.synthetic.life import Orders
from memberlevel_spark.synthetic.members import HOME_CURRENCY, Ints, Members
from memberlevel_spark.synthetic.plan import RATE_STEPS, WorldPlan, exchange_rates
from memberlevel_spark.synthetic.ragged import unfold

# The shop sleeps from 22:30 to 07:30, so no instant falls into the hours in which clocks change.
OPENS_AT, OPEN_SECONDS = 27_000, 54_000
REBATE_SHARE, REBATE = 0.3, 0.15
LINE_KEYS = 1000


@dataclass(frozen=True)
class Baskets:
    """E orders and their L lines; amounts in minor units of the shop's currency."""

    key_E: Keys
    second_E: Ints  # of the local day
    num_lines_E: Ints
    order_L: Ints  # position of the order
    line_L: Ints  # from 0 within the order
    product_L: Ints
    units_L: Ints
    cents_L: Ints
    rebate_cents_L: Ints

    @property
    def first_line_E(self) -> Ints:
        """Position of each order's first line."""
        return np.asarray(np.cumsum(self.num_lines_E) - self.num_lines_E)


def baskets_of(plan: WorldPlan, members: Members, orders: Orders) -> Baskets:
    """Draw the lines of every order."""
    key = child(members.keys(plan, Purpose.ORDER)[orders.member_E], orders.day_E)
    num_lines = counts(key, 2, mean=plan.world.baskets.mean_lines, most=plan.world.baskets.max_lines)
    order, line = unfold(num_lines)
    line_key = child(key[order], LINE_KEYS + line)
    units = 1 + (uniforms(line_key, 2) < 0.3).astype(np.int64) + (uniforms(line_key, 3) < 0.1)
    product = products_of(plan, members, line_key, orders.member_E[order])
    cents = _split(orders.cents_E, units * list_price_cents(plan, product), order, line)
    rebated = uniforms(line_key, 4) < REBATE_SHARE
    return Baskets(
        key_E=key,
        # The mean of two draws: few orders early and late.
        second_E=OPENS_AT + (OPEN_SECONDS * (uniforms(key, 0) + uniforms(key, 1)) / 2).astype(np.int64),
        num_lines_E=num_lines,
        order_L=order,
        line_L=line,
        product_L=product,
        units_L=units,
        cents_L=cents,
        rebate_cents_L=np.where(rebated, np.rint(cents * REBATE), 0).astype(np.int64),
    )


def products_of(plan: WorldPlan, members: Members, keys: Keys, member: Ints) -> Ints:
    """A product per key: the category by the member's taste, within it a few favourites of everybody."""
    catalogue = plan.world.catalogue
    upto = np.cumsum(members.taste_MT, axis=1)[member]
    category = np.minimum((uniforms(keys, 0)[:, None] > upto).sum(axis=1), catalogue.num_categories - 1)
    per_category = catalogue.num_products // catalogue.num_categories
    # Popularity falls with the rank as 1 / rank.
    rank = np.floor(np.exp(uniforms(keys, 1) * np.log(per_category + 1.0))).astype(np.int64) - 1
    return category + catalogue.num_categories * np.minimum(rank, per_category - 1)


def list_price_cents(plan: WorldPlan, product: Ints) -> Ints:
    """Price of products in minor units, lognormal; what is paid is a share of the order's value, not this price."""
    key = child(root_key(plan.seed, Purpose.PRODUCT), product)
    drawn = uniforms(key, 0) + uniforms(key, 1) + uniforms(key, 2) - 1.5
    return np.rint(1500.0 * np.exp(1.2 * drawn)).astype(np.int64)


def in_currency(plan: WorldPlan, currency: Ints, day: Ints, cents: Ints) -> tuple[Ints, Ints]:
    """Amounts in the members' own currencies, in its minor units, and the number of its decimals.

    The nearest amount is taken; it converts back to the very same cents, because its minor unit is worth less.
    """
    amount, digits = cents.copy(), np.full(len(cents), plan.money_digits)
    for number, knobs in enumerate(plan.world.currencies):
        chosen = currency == number
        rate: Floats = exchange_rates(plan, number)[day[chosen]] / RATE_STEPS
        units = 10.0 ** (knobs.minor_unit_digits - plan.money_digits)
        amount[chosen] = np.rint(cents[chosen] / rate * units).astype(np.int64)
        digits[chosen] = knobs.minor_unit_digits
    return amount, digits


def currency_codes(plan: WorldPlan) -> list[str]:
    """Codes by the number of the currency; the last one is the shop's, so that HOME_CURRENCY finds it."""
    assert HOME_CURRENCY == -1
    return [*(currency.code for currency in plan.world.currencies), plan.currency]


def _split(cents_E: Ints, weight_L: Ints, order: Ints, line: Ints) -> Ints:
    """Each order's cents over its lines by weight; the rounding is that of the running sum, so no cent is lost."""
    running = np.cumsum(weight_L)
    first = np.flatnonzero(line == 0)
    before = (running - weight_L)[first][order] if len(first) else running
    total = np.add.reduceat(weight_L, first)[order] if len(first) else running
    upto = (cents_E[order] * (running - before)) // total
    return upto - (cents_E[order] * (running - weight_L - before)) // total
