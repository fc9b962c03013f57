"""Small synthetic worlds for the tests: the configuration of conf/world.yaml with a world of a few hundred members."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from memberlevel_spark.config import Config, load_config
from memberlevel_spark.config.world import DefectKnobs, WorldConfig
from memberlevel_spark.run import Run
from memberlevel_spark.synthetic.life import Orders, State, live_day, newborn
from memberlevel_spark.synthetic.members import Members
from memberlevel_spark.synthetic.plan import WorldPlan, plan_of

WORLD_YAML = Path(__file__).parents[1] / "conf" / "world.yaml"
NUM_MEMBERS, OF_EACH = 250, 2
# Every defect that a run survives.
ALL_DEFECTS = dict.fromkeys(set(DefectKnobs.model_fields) - {"truncated_file"}, OF_EACH) | {"giant_member": 4_000}


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


def files(run: Run) -> dict[str, bytes]:
    """Content of every file of a world, by its name."""
    raw = run.shop_dir / "raw"
    return {str(path.relative_to(raw)): path.read_bytes() for path in sorted(raw.rglob("*")) if path.is_file()}


def lines(run: Run, source: str) -> Counter[bytes]:
    """The lines of all files of a source, headers left out."""
    found: Counter[bytes] = Counter()
    for path in sorted((run.shop_dir / "raw" / source).iterdir()):
        found.update(path.read_bytes().splitlines()[1 if path.suffix == ".csv" else 0 :])
    return found


def csv_rows(run: Run, source: str) -> list[dict[str, str]]:
    """The rows of all CSV files of a source."""
    raw = run.shop_dir / "raw" / source
    return [row for path in sorted(raw.glob("*.csv")) for row in csv.DictReader(path.open(encoding="utf-8"))]


def lived(plan: WorldPlan, members: Members) -> tuple[list[Orders], "np.ndarray", State]:
    """The past day by day: the orders of each day, the metric at the end of each day [D, M], and the last state."""
    state, orders, metric = newborn(plan, members), [], []
    for day in range(plan.num_days):
        orders.append(live_day(plan, members, state, day))
        metric.append(state.metric[0].copy())
    return orders, np.array(metric), state
