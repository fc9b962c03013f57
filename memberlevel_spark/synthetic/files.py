"""The shop's files as lines: which source, which file, where in it, and the text.

In: numbers of members. Out: Arrow batches of LINES rows; the same numbers give the same rows, in whatever batch. The
text of each source is made here, and nowhere else. No Spark.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from memberlevel_spark.synthetic import text
from memberlevel_spark.synthetic.accounts import (
    ACTIVITY_NAMES,
    AGE_GROUPS,
    CITIES,
    NO_CAMPAIGN,
    POINTS,
    activities_of,
    profiles_of,
)
from memberlevel_spark.synthetic.baskets import Baskets, baskets_of, currency_codes, in_currency, list_price_cents
from memberlevel_spark.synthetic.devices import Devices, devices_of
from memberlevel_spark.synthetic.draws import child, uniforms
from memberlevel_spark.synthetic.life import NO_DAY, Orders, live, newborn
from memberlevel_spark.synthetic.members import Ints, Members, member_ids, members_of
from memberlevel_spark.synthetic.plan import DAY_SECONDS, RATE_STEPS, WorldPlan, exchange_rates
from memberlevel_spark.synthetic.sessions import CLICK_NAMES, NO_PRODUCT, NO_RATING, REVIEW, SEARCH, Clicks, clicks_of

LINES = pa.schema(
    [
        ("source", pa.string()),
        ("file", pa.string()),  # month or day of delivery
        ("part", pa.int32()),
        ("position", pa.int64()),  # seconds; the order of the lines in their file
        ("line", pa.string()),
    ]
)
HEADERS = {
    "orders": "order_no,line,customer,ordered_at,sku,units,paid,rebate,currency",
    "refunds": "refund_no,order_no,customer,at,amount,currency,kind",
    "products": "sku,category,brand,price",
    "rates": "day,currency,rate",
}
DATED_SOURCES = ("clicks", "orders", "refunds", "activities", "profiles", "devices")
SOURCES = (*DATED_SOURCES, "products", "rates")
ONE_FILE = "all"
CATEGORIES = (
    *("bread", "fruit", "vegetables", "dairy", "drinks", "sweets", "household", "garden", "toys", "books"),
    *("shoes", "shirts", "trousers", "coats", "jewellery", "bicycles", "tools", "phones", "music", "pets"),
)
NUM_BRANDS = 40
# Texts are written into JSON as they are, so quotes in them are escaped here.
REVIEWS = (
    'Broken on arrival, \\"sturdy\\" it is not',
    "Nicht ganz wie beschrieben",
    "Does what it should",
    "Sehr gut, würde ich wieder kaufen 👍",
    "Parfait, livraison rapide",
)
CHANNELS = ("web", "app")
RECEIVED_WITHIN_SECONDS = 300
RATE_DECIMALS = 8


@dataclass(frozen=True)
class Shop:
    """Everything some members did, and their ids."""

    plan: WorldPlan
    members: Members
    ids: list[str]
    orders: Orders
    baskets: Baskets
    clicks: Clicks
    devices: Devices


def shop_of(plan: WorldPlan, numbers: Ints) -> Shop:
    """Live the members' past, day by day, and draw what it looks like to the shop."""
    members = members_of(plan, numbers)
    orders = live(plan, members, newborn(plan, members), range(plan.num_days))
    baskets = baskets_of(plan, members, orders)
    clicks, devices = clicks_of(plan, members, orders, baskets, devices_of(plan, members))
    return Shop(plan, members, member_ids(members), orders, baskets, clicks, devices)


def member_lines(plan: WorldPlan, numbers: Ints) -> Iterator[pa.RecordBatch]:
    """The lines of all sources that some members appear in."""
    shop = shop_of(plan, numbers)
    for make in (_clicks, _orders, _refunds, _activities, _profiles, _devices):
        yield make(shop)


def product_lines(plan: WorldPlan, numbers: Ints) -> Iterator[pa.RecordBatch]:
    """The catalogue's lines of some products."""
    catalogue = plan.world.catalogue
    brand = numbers // catalogue.num_categories % NUM_BRANDS
    price = list_price_cents(plan, numbers)
    cells = [
        _skus(numbers),
        text.chosen(CATEGORIES, numbers % catalogue.num_categories),
        text.glued("brand ", text.numbers_text(brand, 2)),
        text.amounts_text(price, np.full(len(price), plan.money_digits)),
    ]
    yield _whole_file("products", numbers, text.csv_lines(cells))


def rate_lines(plan: WorldPlan) -> list[pa.RecordBatch]:
    """The exchange rates of every day, a batch per currency."""
    days = np.arange(plan.num_days)
    batches = []
    for number, code in enumerate(currency_codes(plan)[:-1]):
        rate = text.amounts_text(exchange_rates(plan, number), np.full(len(days), RATE_DECIMALS))
        assert 10**RATE_DECIMALS == RATE_STEPS
        cells = [text.days_text(plan, days), pa.array([code] * len(days)), rate]
        batches.append(_whole_file("rates", days, text.csv_lines(cells)))
    return batches


def file_names(plan: WorldPlan) -> list[str]:
    """The name of the file each day's lines are delivered in, by day; some days more than there is data."""
    length = len("2024-05") if plan.world.files == "month" else len("2024-05-05")
    return [plan.date_of(day).isoformat()[:length] for day in range(plan.num_days + 7)]


def lines(plan: WorldPlan, source: str, number: Ints, at: tuple[Ints, Ints], line: pa.Array) -> pa.RecordBatch:
    """Lines of a source, each with its member's number and the day and second it reaches the shop."""
    day, second = at
    columns = [
        pa.array([source] * len(day), pa.string()),
        text.chosen(file_names(plan), day),
        pa.array(number % plan.world.parts, pa.int32()),
        pa.array(day * DAY_SECONDS + second, pa.int64()),
        line,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=LINES)


def _whole_file(source: str, position: Ints, line: pa.Array) -> pa.RecordBatch:
    num = len(position)
    columns = [[source] * num, [ONE_FILE] * num, [0] * num, position, line]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, LINES, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=LINES)


def _skus(product: Ints) -> pa.Array:
    return text.glued("S", text.numbers_text(product, 7))


def _order_numbers(shop: Shop) -> pa.Array:
    """Day and member: at most one order a day makes them unique, whoever else is in the batch."""
    days = [shop.plan.date_of(day).strftime("%y%m%d") for day in range(shop.plan.num_days)]
    number = text.numbers_text(shop.members.number_M[shop.orders.member_E], 9)
    return text.glued(text.chosen(days, shop.orders.day_E), number)


def _clicks(shop: Shop) -> pa.RecordBatch:
    plan, clicks = shop.plan, shop.clicks
    delay = np.floor(uniforms(clicks.key_K, 8) * RECEIVED_WITHIN_SECONDS).astype(np.int64)
    received = clicks.second_K + delay
    cookie = child(shop.devices.key_MB, 1)[clicks.member_K, clicks.device_K]
    product = np.where(clicks.product_K == NO_PRODUCT, 0, clicks.product_K)
    # What is looked for is a category, mostly spelled as the shop spells it.
    query = text.chosen(CATEGORIES, _search_category(shop))
    columns = {
        "event": text.chosen(CLICK_NAMES, clicks.kind_K),
        "id": text.hex_ids("e", clicks.key_K),
        "cookie": text.hex_ids("c", cookie),
        "user": text.only_where(clicks.known_K, text.chosen(shop.ids, clicks.member_K)),
        "at": text.local_times(plan, clicks.day_K, clicks.second_K, separator="T"),
        "received_at": text.local_times(plan, clicks.day_K, received, separator="T"),
        "sku": text.only_where(clicks.product_K != NO_PRODUCT, _skus(product)),
        "query": text.only_where(clicks.kind_K == SEARCH, query),
        "rating": text.only_where(clicks.rating_K != NO_RATING, pa.array(clicks.rating_K)),
        "text": text.only_where(clicks.kind_K == REVIEW, text.chosen(REVIEWS, np.maximum(clicks.rating_K - 1, 0))),
        "channel": text.chosen(CHANNELS, np.minimum(clicks.device_K, 1)),
    }
    number = shop.members.number_M[clicks.member_K]
    return lines(plan, "clicks", number, (clicks.day_K, received), text.json_lines(columns))


def _search_category(shop: Shop) -> Ints:
    drawn = uniforms(shop.clicks.key_K, 9)
    upto = np.cumsum(shop.members.taste_MT, axis=1)[shop.clicks.member_K]
    found = (drawn[:, None] > upto).sum(axis=1)
    return np.minimum(found, shop.plan.world.catalogue.num_categories - 1)


def _orders(shop: Shop) -> pa.RecordBatch:
    plan, orders, baskets = shop.plan, shop.orders, shop.baskets
    order = baskets.order_L
    member, day, second = orders.member_E[order], orders.day_E[order], baskets.second_E[order]
    currency = shop.members.currency_M[member]
    paid, digits = in_currency(plan, currency, day, baskets.cents_L)
    rebate, _ = in_currency(plan, currency, day, baskets.rebate_cents_L)
    cells = [
        _order_numbers(shop).take(pa.array(order)),
        pa.array(baskets.line_L + 1),
        text.chosen(shop.ids, member),
        text.local_times(plan, day, second),
        _skus(baskets.product_L),
        pa.array(baskets.units_L),
        text.amounts_text(paid, digits),
        text.amounts_text(rebate, digits),
        _codes(shop, member),
    ]
    return lines(plan, "orders", shop.members.number_M[member], (day, second), text.csv_lines(cells))


def _codes(shop: Shop, member: Ints) -> pa.Array:
    """Codes of the members' currencies; the shop's own is the last of the list, and its number -1."""
    codes = currency_codes(shop.plan)
    return text.chosen(codes, shop.members.currency_M[member] % len(codes))


def _refunds(shop: Shop) -> pa.RecordBatch:
    plan, orders = shop.plan, shop.orders
    back = np.flatnonzero((orders.refund_day_E != NO_DAY) & (orders.refund_day_E < plan.num_days))
    member, day = orders.member_E[back], orders.refund_day_E[back]
    # A cancellation comes some minutes after its order, a return at any time of its day.
    drawn = uniforms(shop.baskets.key_E[back], 8)
    hurried = shop.baskets.second_E[back] + 600 + np.floor(drawn * 3000).astype(np.int64)
    calm = 32_400 + np.floor(drawn * 36_000).astype(np.int64)
    second = np.where(orders.cancelled_E[back], hurried, calm)
    amount, digits = in_currency(plan, shop.members.currency_M[member], day, orders.refund_cents_E[back])
    order_number = _order_numbers(shop).take(pa.array(back))
    cells = [
        text.glued("R", order_number),
        order_number,
        text.chosen(shop.ids, member),
        text.local_times(plan, day, second),
        text.amounts_text(amount, digits),
        _codes(shop, member),
        text.chosen(("return", "cancellation"), orders.cancelled_E[back].astype(np.int64)),
    ]
    return lines(plan, "refunds", shop.members.number_M[member], (day, second), text.csv_lines(cells))


def _activities(shop: Shop) -> pa.RecordBatch:
    plan, acts = shop.plan, activities_of(shop.plan, shop.members, shop.orders, shop.baskets)
    names = [campaign.name for campaign in plan.world.campaigns] or [""]
    columns = {
        "id": text.hex_ids("a", child(acts.key_A, 1 + acts.kind_A)),
        "customer": text.chosen(shop.ids, acts.member_A),
        "kind": text.chosen(ACTIVITY_NAMES, acts.kind_A),
        "at": text.utc_times(plan, acts.day_A, acts.second_A),
        "campaign": text.chosen(names, acts.campaign_A, missing=NO_CAMPAIGN),
        "points": text.only_where(acts.kind_A == POINTS, pa.array(acts.points_A)),
    }
    number = shop.members.number_M[acts.member_A]
    return lines(plan, "activities", number, (acts.day_A, acts.second_A), text.json_lines(columns))


def _profiles(shop: Shop) -> pa.RecordBatch:
    rows = profiles_of(shop.plan, shop.members)
    columns = {
        "customer": text.chosen(shop.ids, rows.member_P),
        "valid_from": text.days_text(shop.plan, rows.day_P),
        "city": text.chosen(CITIES, rows.city_P),
        "age_group": text.chosen(AGE_GROUPS, rows.age_group_P),
        "opt_in": pa.array(rows.opt_in_P == 1),
    }
    number = shop.members.number_M[rows.member_P]
    return lines(shop.plan, "profiles", number, (rows.day_P, np.zeros_like(rows.day_P)), text.json_lines(columns))


def _devices(shop: Shop) -> pa.RecordBatch:
    """Devices whose owner has logged in by the end of the data; of the others the shop knows the cookie only."""
    plan, devices = shop.plan, shop.devices
    owned = np.arange(devices.key_MB.shape[1]) < shop.members.num_devices_M[:, None]
    member, device = np.nonzero(owned & (devices.linked_second_MB < plan.num_days * DAY_SECONDS))
    day, second = np.divmod(devices.linked_second_MB[member, device], DAY_SECONDS)
    columns = {
        "cookie": text.hex_ids("c", child(devices.key_MB, 1)[member, device]),
        "customer": text.chosen(shop.ids, member),
        "linked_at": text.local_times(plan, day, second, separator="T"),
    }
    return lines(plan, "devices", shop.members.number_M[member], (day, second), text.json_lines(columns))
