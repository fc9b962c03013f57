"""Sessions and clicks: those that lead to an order, those that do not, and reviews. No Spark.

A session is one click about every 40 seconds; the files carry no session id. Clicks follow from orders and from a
member's habit to browse; nothing in them hints at a draw that is still to come.
Shapes: S sessions, K clicks, E orders, M members, D days.
"""

from dataclasses import dataclass

import numpy as np

from memberlevel_spark.synthetic.baskets import OPEN_SECONDS, OPENS_AT, Baskets, products_of
from memberlevel_spark.synthetic.devices import Devices, device_used, log_in_to_order
from memberlevel_spark.synthetic.draws import Floats, Keys, Purpose, child, counts, uniforms
from memberlevel_spark.synthetic.life import Orders
from memberlevel_spark.synthetic.members import Bools, Ints, Members
from memberlevel_spark.synthetic.plan import DAY_SECONDS, WorldPlan
from memberlevel_spark.synthetic.ragged import unfold

CLICK_NAMES = ("product_view", "search", "add_to_cart", "remove_from_cart", "begin_checkout", "review")
VIEW, SEARCH, ADD, REMOVE, CHECKOUT, REVIEW = range(len(CLICK_NAMES))
CLICK_SECONDS, JITTER_SECONDS = 40, 30
MAX_BROWSING_CLICKS = 60
MAX_SEARCHES, MEAN_VIEWS, MAX_VIEWS, REMOVES_SHARE = 2.2, 1.3, 6, 0.12
# Of a browsing session's clicks: searches, then views, the rest goes into a cart that is left behind.
SEARCH_SHARE, VIEW_SHARE = 0.15, 0.76
LATEST_START = OPEN_SECONDS - MAX_BROWSING_CLICKS * (CLICK_SECONDS + JITTER_SECONDS)
REVIEW_FIRST_DAY, REVIEW_DAYS = 3, 10
NO_PRODUCT, NO_RATING, NO_ORDER = -1, 0, -1


@dataclass(frozen=True)
class Sessions:
    """S sessions; ``order_S`` is the position of the order a session ends in, or NO_ORDER."""

    key_S: Keys
    member_S: Ints
    day_S: Ints
    start_S: Ints  # second of the local day
    num_clicks_S: Ints
    order_S: Ints
    device_S: Ints


@dataclass(frozen=True)
class Clicks:
    """K clicks; ``product_K`` NO_PRODUCT and ``rating_K`` NO_RATING where there is none."""

    key_K: Keys
    member_K: Ints
    day_K: Ints
    second_K: Ints
    kind_K: Ints  # position in CLICK_NAMES
    product_K: Ints
    rating_K: Ints
    device_K: Ints
    known_K: Bools  # logged in


def clicks_of(
    plan: WorldPlan, members: Members, orders: Orders, baskets: Baskets, devices: Devices
) -> tuple[Clicks, Devices]:
    """All clicks of the members, and their devices with the final time of the first login."""
    ordering = _ordering_sessions(members, orders, baskets, devices)
    devices = log_in_to_order(devices, orders, baskets, ordering.device_S)
    browsing = _browsing_sessions(plan, members, orders, devices)
    parts = [
        _clicks_to_order(plan, members, ordering, baskets, devices),
        _clicks_of_browsing(plan, members, browsing, devices),
        _reviews(plan, members, orders, baskets, devices),
    ]
    return Clicks(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}), devices


def active_days(plan: WorldPlan, members: Members, orders: Orders, first_day_M: Ints) -> Floats:
    """How active each member is on each day with data: 0 before the first, 1, ``left_share`` after leaving; [D, M]."""
    left_day = np.full(len(members), plan.num_days)
    left_day[orders.member_E[orders.left_E]] = orders.day_E[orders.left_E]
    day = np.arange(plan.num_days)[:, None]
    return np.where(day < first_day_M, 0.0, np.where(day > left_day, plan.world.clicks.left_share, 1.0))


def _ordering_sessions(members: Members, orders: Orders, baskets: Baskets, devices: Devices) -> Sessions:
    key = child(baskets.key_E, 1)
    device = device_used(members, devices, key, orders.member_E, orders.day_E)
    searches, views, removes = _parts_of_ordering(key)
    num_clicks = searches + views + 2 * baskets.num_lines_E + 2 * removes + 1
    start = baskets.second_E - num_clicks * CLICK_SECONDS
    return Sessions(key, orders.member_E, orders.day_E, start, num_clicks, np.arange(len(orders)), device)


def _parts_of_ordering(key: Keys) -> tuple[Ints, Ints, Ints]:
    searches = np.floor(uniforms(key, 1) * MAX_SEARCHES).astype(np.int64)
    views = counts(key, 2, mean=MEAN_VIEWS, most=MAX_VIEWS)
    return searches, views, (uniforms(key, 3) < REMOVES_SHARE).astype(np.int64)


def _browsing_sessions(plan: WorldPlan, members: Members, orders: Orders, devices: Devices) -> Sessions:
    rate_DM = active_days(plan, members, orders, devices.first_day_MB[:, 0]) * members.browsing_M
    rate_DM *= plan.rate_factor_D[: plan.num_days, None]
    keys = members.keys(plan, Purpose.BROWSING)
    day, member = np.nonzero(uniforms(keys, np.arange(plan.num_days)[:, None]) < -np.expm1(-rate_DM))
    key = child(keys[member], day)
    start = OPENS_AT + np.floor(uniforms(key, 1) * LATEST_START).astype(np.int64)
    num_clicks = counts(key, 2, mean=plan.world.clicks.clicks_per_session, most=MAX_BROWSING_CLICKS)
    device = device_used(members, devices, key, member, day)
    return Sessions(key, member, day, start, num_clicks, np.full(len(day), NO_ORDER), device)


def _clicks_to_order(
    plan: WorldPlan, members: Members, sessions: Sessions, baskets: Baskets, devices: Devices
) -> Clicks:
    """Searches, looking around, each line viewed and put into the cart, at times a change of mind, the checkout."""
    session, place = unfold(sessions.num_clicks_S)
    searches, views, removes = (part[session] for part in _parts_of_ordering(sessions.key_S))
    lines = baskets.num_lines_E[session]
    in_lines = place - searches - views
    of_line = (in_lines >= 0) & (in_lines < 2 * lines)
    after = in_lines - 2 * lines
    kind = np.where(place < searches, SEARCH, VIEW)
    kind[of_line & (in_lines % 2 == 1)] = ADD
    kind[(after == 0) & (removes == 1)] = ADD
    kind[(after == 1) & (removes == 1)] = REMOVE
    kind[place == sessions.num_clicks_S[session] - 1] = CHECKOUT
    # What is removed is what was added just before: both take their product from the same place.
    key = child(sessions.key_S[session], place)
    source = child(sessions.key_S[session], np.where(kind == REMOVE, place - 1, place))
    product = products_of(plan, members, source, sessions.member_S[session])
    line = (baskets.first_line_E[session] + in_lines // 2)[of_line]
    product[of_line] = baskets.product_L[line]
    return _clicks(plan, sessions, devices, (session, place, key), (kind, product))


def _clicks_of_browsing(plan: WorldPlan, members: Members, sessions: Sessions, devices: Devices) -> Clicks:
    session, place = unfold(sessions.num_clicks_S)
    key = child(sessions.key_S[session], place)
    drawn = uniforms(key, 5)
    kind = np.select([drawn < SEARCH_SHARE, drawn < SEARCH_SHARE + VIEW_SHARE], [SEARCH, VIEW], ADD)
    product = products_of(plan, members, key, sessions.member_S[session])
    return _clicks(plan, sessions, devices, (session, place, key), (kind, product))


def _clicks(
    plan: WorldPlan, sessions: Sessions, devices: Devices, which: tuple[Ints, Ints, Keys], what: tuple[Ints, Ints]
) -> Clicks:
    (session, place, key), (kind, product) = which, what
    jitter = np.floor(uniforms(key, 4) * JITTER_SECONDS).astype(np.int64)
    second = sessions.start_S[session] + place * CLICK_SECONDS + jitter
    member, day, device = (part[session] for part in (sessions.member_S, sessions.day_S, sessions.device_S))
    linked = day * DAY_SECONDS + second >= devices.linked_second_MB[member, device]
    # Whoever orders is logged in; other sessions are, or are not, as a whole.
    signed_in = (uniforms(sessions.key_S, 6) < plan.world.clicks.signed_in_share) | (sessions.order_S != NO_ORDER)
    return Clicks(
        key_K=key,
        member_K=member,
        day_K=day,
        second_K=second,
        kind_K=kind,
        product_K=np.where((kind == SEARCH) | (kind == CHECKOUT), NO_PRODUCT, product),
        rating_K=np.full(len(key), NO_RATING),
        device_K=device,
        known_K=linked & signed_in[session],
    )


def _reviews(plan: WorldPlan, members: Members, orders: Orders, baskets: Baskets, devices: Devices) -> Clicks:
    """Some orders are reviewed days later, logged in, on the main device once that is linked."""
    key = child(baskets.key_E, 2)
    day = orders.day_E + REVIEW_FIRST_DAY + np.floor(uniforms(key, 1) * REVIEW_DAYS).astype(np.int64)
    linked = devices.linked_second_MB[orders.member_E, 0] < day * DAY_SECONDS
    written = np.flatnonzero((uniforms(key, 0) < plan.world.clicks.review_share) & (day < plan.num_days) & linked)
    key, num = key[written], len(written)
    # Five stars are the most frequent; the square root pushes a uniform draw upwards.
    rating = 1 + np.floor(5.0 * np.sqrt(uniforms(key, 2))).astype(np.int64)
    return Clicks(
        key_K=key,
        member_K=orders.member_E[written],
        day_K=day[written],
        second_K=OPENS_AT + np.floor(uniforms(key, 3) * OPEN_SECONDS).astype(np.int64),
        kind_K=np.full(num, REVIEW),
        product_K=baskets.product_L[baskets.first_line_E[written]] if num else np.zeros(0, np.int64),
        rating_K=rating,
        device_K=np.zeros(num, np.int64),
        known_K=np.ones(num, bool),
    )
