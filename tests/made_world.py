"""Small synthetic worlds for the tests: the configuration of conf/world.yaml with a world of a few hundred members."""

from pathlib import Path

import numpy as np

from memberlevel_spark.config import Config, load_config
from memberlevel_spark.config.world import DefectKnobs, WorldConfig
from memberlevel_spark.synthetic.life import Orders, State, live_day, newborn
from memberlevel_spark.synthetic.members import Members
from memberlevel_spark.synthetic.plan import WorldPlan, plan_of

WORLD_YAML = Path(__file__).parents[1] / "conf" / "world.yaml"


def world_config(**knobs: object) -> Config:
    """conf/world.yaml without defects, 300 members and 50 futures, and with these knobs of its world."""
    config = load_config(WORLD_YAML, environment={})
    assert config.world is not None
    given = {"num_members": 300, "truth": {"num_futures": 50}, "defects": {}, **knobs}
    kept = {name: value for name, value in config.world.model_dump().items() if name not in given}
    return config.model_copy(update={"world": WorldConfig.model_validate({**kept, **given})})


def world_plan(**knobs: object) -> WorldPlan:
    """The plan of ``world_config``."""
    return plan_of(world_config(**knobs))


def all_defects(number: int) -> dict[str, int]:
    """Every defect that a run survives, ``number`` of each; the giant member and texts of 10 MB left out."""
    fatal_or_heavy = {"truncated_file", "huge_string", "giant_member"}
    return dict.fromkeys(set(DefectKnobs.model_fields) - fatal_or_heavy, number)


def lived(plan: WorldPlan, members: Members) -> tuple[list[Orders], "np.ndarray", State]:
    """The past day by day: the orders of each day, the metric at the end of each day [D, M], and the last state."""
    state, orders, metric = newborn(plan, members), [], []
    for day in range(plan.num_days):
        orders.append(live_day(plan, members, state, day))
        metric.append(state.metric[0].copy())
    return orders, np.array(metric), state
