"""Devices: the cookies a member uses, and when their owner first logs in on each. No Spark.

Shapes: M members, B devices per member at most (``clicks.max_devices``), E orders.
"""

from dataclasses import dataclass

import numpy as np

from memberlevel_spark.synthetic.baskets import OPEN_SECONDS, OPENS_AT, Baskets
from memberlevel_spark.synthetic.draws import Keys, Purpose, child, uniforms
from memberlevel_spark.synthetic.life import Orders
from memberlevel_spark.synthetic.members import Ints, Members
from memberlevel_spark.synthetic.plan import DAY_SECONDS, WorldPlan

MAIN_DEVICE_SHARE = 0.6
LATER_DEVICE_DAYS = 150
BEFORE_ORDER_SECONDS = 45


@dataclass(frozen=True)
class Devices:
    """Devices of M members; a member has the first ``num_devices_M`` of B."""

    key_MB: Keys  # also what the cookie's text is made of
    first_day_MB: Ints  # of use
    linked_second_MB: Ints  # of the first login, from the world's first second


def devices_of(plan: WorldPlan, members: Members) -> Devices:
    """Draw the devices; a login that an order forces earlier is for ``log_in_to_order``."""
    knobs, numbers = plan.world.clicks, np.arange(plan.world.clicks.max_devices)
    key = child(members.keys(plan, Purpose.DEVICE)[:, None], numbers)
    join = members.join_day_M[:, None]
    guest_days = np.floor(uniforms(key, 0) * (knobs.guest_days + 1)).astype(np.int64)
    later = join + 1 + np.floor(uniforms(key, 1) * LATER_DEVICE_DAYS).astype(np.int64)
    # Members look around on their main device before they join; they log in there on some day after.
    first_day = np.where(numbers == 0, np.maximum(join - guest_days, 0), later)
    login_day = np.where(numbers == 0, join, later) + np.floor(uniforms(key, 2) * (knobs.guest_days + 1)).astype(int)
    second = OPENS_AT + np.floor(uniforms(key, 3) * OPEN_SECONDS).astype(np.int64)
    return Devices(key, first_day, login_day * DAY_SECONDS + second)


def device_used(members: Members, devices: Devices, keys: Keys, member: Ints, day: Ints) -> Ints:
    """Which device each session is on: mostly the main one, another only once it is in use."""
    drawn = uniforms(keys, 0)
    among_all = np.floor((drawn - MAIN_DEVICE_SHARE) / (1.0 - MAIN_DEVICE_SHARE) * members.num_devices_M[member])
    chosen = np.where(drawn < MAIN_DEVICE_SHARE, 0, among_all).astype(np.int64)
    return np.where(devices.first_day_MB[member, chosen] <= day, chosen, 0)


def log_in_to_order(devices: Devices, orders: Orders, baskets: Baskets, device_E: Ints) -> Devices:
    """Nobody orders as a guest: a device's first login is at the latest shortly before its first order."""
    at = orders.day_E * DAY_SECONDS + baskets.second_E - BEFORE_ORDER_SECONDS
    linked = devices.linked_second_MB.copy()
    np.minimum.at(linked, (orders.member_E, device_E), at)
    return Devices(devices.key_MB, devices.first_day_MB, linked)
