"""What a shop knows of its members besides orders and clicks: profile history, campaign mails, check-ins, points.

No Spark. Shapes: P profile rows, A activities, M members, C campaigns.
"""

from dataclasses import dataclass

import numpy as np

from memberlevel_spark.synthetic.baskets import OPEN_SECONDS, OPENS_AT, Baskets
from memberlevel_spark.synthetic.draws import Keys, Purpose, child, uniforms
from memberlevel_spark.synthetic.life import Orders
from memberlevel_spark.synthetic.members import Ints, Members
from memberlevel_spark.synthetic.plan import WorldPlan
from memberlevel_spark.synthetic.sessions import active_days

CITIES = ("Berlin", "Hamburg", "Köln", "München", "Freiburg", "Zürich", "Łódź", "Besançon")
AGE_GROUPS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
MOVES_SHARE, CHANGES_OPT_IN_SHARE, OPT_IN_SHARE = 0.15, 0.1, 0.7
ACTIVITY_NAMES = ("check_in", "mail_sent", "mail_opened", "points_granted")
CHECK_IN, MAIL_SENT, MAIL_OPENED, POINTS = range(len(ACTIVITY_NAMES))
MAIL_SECOND = 28_800
NO_CAMPAIGN = -1
POINTS_AFTER_SECONDS = 60


@dataclass(frozen=True)
class Profiles:
    """P rows of profile history; a row holds from its day until the member's next one."""

    member_P: Ints
    day_P: Ints
    city_P: Ints
    age_group_P: Ints
    opt_in_P: Ints  # 1 or 0


@dataclass(frozen=True)
class Activities:
    """A activities; ``campaign_A`` NO_CAMPAIGN and ``points_A`` 0 where there is none."""

    key_A: Keys
    member_A: Ints
    day_A: Ints
    second_A: Ints
    kind_A: Ints  # position in ACTIVITY_NAMES
    campaign_A: Ints
    points_A: Ints


def profiles_of(plan: WorldPlan, members: Members) -> Profiles:
    """A profile from the day of joining; some members move, some change their mind about mails."""
    keys, num = members.keys(plan, Purpose.PROFILE), np.arange(len(members))
    city = members.region_M % len(CITIES)
    age = np.floor(uniforms(keys, 0) * len(AGE_GROUPS)).astype(np.int64)
    opt_in = (uniforms(keys, 1) < OPT_IN_SHARE).astype(np.int64)
    left = np.maximum(plan.num_days - members.join_day_M - 1, 0)
    changes = [members.join_day_M + 1 + np.floor(uniforms(keys, 2 + n) * left).astype(np.int64) for n in range(2)]
    move_day, mind_day = changes
    moves = (uniforms(keys, 4) < MOVES_SHARE) & (move_day < plan.num_days)
    minds = (uniforms(keys, 5) < CHANGES_OPT_IN_SHARE) & (mind_day < plan.num_days) & (mind_day != move_day)
    new_city = (city + 1 + np.floor(uniforms(keys, 6) * (len(CITIES) - 1)).astype(np.int64)) % len(CITIES)
    joined = members.join_day_M < plan.num_days
    return Profiles(
        member_P=np.concatenate([num[joined], num[moves], num[minds]]),
        day_P=np.concatenate([members.join_day_M[joined], move_day[moves], mind_day[minds]]),
        city_P=np.concatenate(
            [city[joined], new_city[moves], np.where(moves & (move_day < mind_day), new_city, city)[minds]]
        ),
        age_group_P=np.concatenate([age[joined], age[moves], age[minds]]),
        opt_in_P=np.concatenate(
            [opt_in[joined], np.where(minds & (mind_day < move_day), 1 - opt_in, opt_in)[moves], 1 - opt_in[minds]]
        ),
    )


def activities_of(plan: WorldPlan, members: Members, orders: Orders, baskets: Baskets) -> Activities:
    """Check-ins, the mails of campaigns, and a point for each whole unit of the shop's currency."""
    parts = [_check_ins(plan, members, orders), *_mails(plan, members), _points(plan, orders, baskets)]
    return Activities(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def _check_ins(plan: WorldPlan, members: Members, orders: Orders) -> Activities:
    rate_DM = active_days(plan, members, orders, members.join_day_M) * members.check_ins_M
    keys = members.keys(plan, Purpose.ACTIVITY)
    day, member = np.nonzero(uniforms(keys, np.arange(plan.num_days)[:, None]) < -np.expm1(-rate_DM))
    key = child(keys[member], day)
    second = OPENS_AT + np.floor(uniforms(key, 0) * OPEN_SECONDS).astype(np.int64)
    return _activities(key, member, day, second, CHECK_IN)


def _mails(plan: WorldPlan, members: Members) -> list[Activities]:
    """A mail to each treated member on the campaign's first morning, and the opening of it."""
    parts, keys = [], members.keys(plan, Purpose.ACTIVITY)
    for number, campaign in enumerate(plan.world.campaigns):
        first = plan.day_of(campaign.first_day)
        sent = np.flatnonzero(members.treated_CM[number] & (first < plan.num_days))
        key = child(keys[sent], plan.num_days + number)
        opened = uniforms(key, 0) < campaign.opened_share
        later = MAIL_SECOND + 60 + np.floor(uniforms(key, 1) * 36_000).astype(np.int64)
        days, of = np.full(len(sent), first), np.full(len(sent), number)
        parts.append(_activities(key, sent, days, np.full(len(sent), MAIL_SECOND), MAIL_SENT, campaign=of))
        reply = _activities(child(key, 1), sent, days, later, MAIL_OPENED, campaign=of)
        parts.append(Activities(**{name: values[opened] for name, values in vars(reply).items()}))
    return parts


def _points(plan: WorldPlan, orders: Orders, baskets: Baskets) -> Activities:
    points = orders.cents_E // 10**plan.money_digits
    second = baskets.second_E + POINTS_AFTER_SECONDS
    rows = _activities(child(baskets.key_E, 3), orders.member_E, orders.day_E, second, POINTS)
    return Activities(**{**vars(rows), "points_A": points})


def _activities(
    key: Keys, member: Ints, day: Ints, second: Ints, kind: int, *, campaign: Ints | None = None
) -> Activities:
    none = np.full(len(member), NO_CAMPAIGN)
    kinds, points = np.full(len(member), kind), np.zeros(len(member), np.int64)
    return Activities(key, member, day, second, kinds, none if campaign is None else campaign, points)
