"""The truth as rows of its contracts; Arrow batches by members, plain rows where there are few. No Spark session.

In: numbers of members. Out: batches with the columns of TRUTH_MEMBERS or TRUTH_LEVELS, in their order.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from memberlevel_spark.synthetic.baskets import currency_codes
from memberlevel_spark.synthetic.draws import Floats
from memberlevel_spark.synthetic.life import live, newborn
from memberlevel_spark.synthetic.members import Ints, Members, member_ids, members_of
from memberlevel_spark.synthetic.plan import WorldPlan
from memberlevel_spark.synthetic.truth import Truth, truths_of


def member_truth(plan: WorldPlan, numbers: Ints) -> Iterator[pa.RecordBatch]:
    """The latent state of some members, and what became of them by the end of the data."""
    members = members_of(plan, numbers)
    orders = live(plan, members, newborn(plan, members), range(plan.num_days))
    left_day = np.full(len(members), -1)
    left_day[orders.member_E[orders.left_E]] = orders.day_E[orders.left_E]
    codes = currency_codes(plan)
    yield pa.RecordBatch.from_pydict(
        {
            "member_id": pa.array(member_ids(members), pa.string()),
            "joined_date": _dates(plan, members.join_day_M),
            "orders_per_day": members.orders_per_day_M,
            "dropout_share": members.dropout_M,
            "left_date": _dates(plan, left_day, missing=left_day < 0),
            "median_order_cents": np.exp(members.log_basket_M),
            "goal_strength": members.goal_M,
            "tastes": _lists(members.taste_MT),
            "num_devices": pa.array(members.num_devices_M, pa.int32()),
            "currency": pa.array([codes[number] for number in members.currency_M], pa.string()),
            "treated": pa.array(_treated(plan, members), pa.list_(pa.string())),
            "num_orders": np.bincount(orders.member_E, minlength=len(members)),
        }
    )


def level_truth(plan: WorldPlan, numbers: Ints) -> Iterator[pa.RecordBatch]:
    """The level probabilities of some members, a batch per as-of date."""
    members = members_of(plan, numbers)
    ids = np.array(member_ids(members), dtype=object)
    for truth in truths_of(plan, members):
        yield _level_batch(plan, ids, truth)


def campaign_rows(plan: WorldPlan) -> list[tuple[str, date, date, float, float]]:
    """A row per campaign, in the order of TRUTH_CAMPAIGNS."""
    return [
        (
            campaign.name,
            campaign.first_day,
            campaign.first_day + timedelta(days=campaign.num_days - 1),
            campaign.uplift,
            campaign.treated_share,
        )
        for campaign in plan.world.campaigns
    ]


def _level_batch(plan: WorldPlan, ids: "np.ndarray", truth: Truth) -> pa.RecordBatch:
    num = len(truth.member_M)
    # Mass above and below the level held now.
    above = np.arange(plan.rules.num_levels) > truth.level_now_M[:, None]
    below = np.arange(plan.rules.num_levels) < truth.level_now_M[:, None]
    return pa.RecordBatch.from_pydict(
        {
            "member_id": pa.array(ids[truth.member_M].tolist(), pa.string()),
            "as_of_date": _dates(plan, np.full(num, truth.day)),
            "level_now": pa.array(truth.level_now_M, pa.int32()),
            "p_level": _lists(truth.p_level_MK),
            "p_up": (truth.p_level_MK * above).sum(axis=1),
            "p_down": (truth.p_level_MK * below).sum(axis=1),
            "expected_orders": truth.orders_M,
            "expected_spend_cents": truth.cents_M,
        }
    )


def _treated(plan: WorldPlan, members: Members) -> list[list[str]]:
    names = [campaign.name for campaign in plan.world.campaigns]
    return [[name for name, got in zip(names, column, strict=True) if got] for column in members.treated_CM.T]


def _dates(plan: WorldPlan, day: Ints, missing: "np.ndarray | None" = None) -> pa.Array:
    first = np.datetime64(plan.first_day, "D").astype(np.int64)
    return pa.array((first + day).astype(np.int32), pa.int32(), mask=missing).cast(pa.date32())


def _lists(values_NT: Floats) -> pa.Array:
    offsets = pa.array(np.arange(len(values_NT) + 1) * values_NT.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values_NT.ravel(), pa.float64()))
