"""Half a year of as-of dates one day at a time is the same half year in one pass, to the byte; no session is needed."""

import random

import numpy as np
import pyarrow as pa
import pytest

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.windows import WindowPlan, compute_batch
from memberlevel_spark.levels.replay import ReplayPlan, decide_batch
from memberlevel_spark.levels.rules import LevelRules

MEASURES = ("num_orders", "spend_cents")
FIRST_DAY, NUM_DAYS, NUM_MEMBERS = 19_700, 182, 8
LAST_DAY = FIRST_DAY + NUM_DAYS + 40
PROGRAMME = [{"name": "a"}, {"name": "b", "at_least": 300}, {"name": "c", "at_least": 900}]
DECLARED = (
    *[Feature(m, a, window_days=d) for m in MEASURES for a in ("sum", "count", "std") for d in (7, 28, 91)],
    Feature("num_orders", "days_since"),
    Feature("spend_cents", "trend", window_days=28),
    Feature("num_orders", "gap_mean"),
    Feature("num_orders", "longest_streak_weeks"),
)


def rules(**more: object) -> LevelRules:
    return LevelRules(LevelsConfig.model_validate({"metric": "spend_cents", "programme": PROGRAMME, **more}))


def history(through: int, programme: LevelRules, levels: dict[str, list[dict]] | None = None) -> pa.RecordBatch:
    """Members with their tiles up to ``through``, and of their levels (None: replayed now) those begun by then."""
    rng, rows = random.Random(4), []
    for member in range(NUM_MEMBERS):
        known = FIRST_DAY - 60 + 25 * member  # the last ones arrive during the half year, the first is silent
        days = sorted(rng.sample(range(known, LAST_DAY), 5 * member))
        tiles = [(day, 1, rng.randrange(-50, 400)) for day in days]
        seen = [tile for tile in tiles if tile[0] <= through]
        if known <= through:
            rows.append((f"m{member}", known, *([tile[k] for tile in seen] for k in range(3))))
    member_id, known_day, day, orders, spend = zip(*rows, strict=True)
    longs = pa.list_(pa.int64())
    arrays = [pa.array(member_id), pa.array(known_day, pa.int32()), *(pa.array(c, longs) for c in (day, orders, spend))]
    batch = pa.RecordBatch.from_arrays(arrays, ["member_id", "known_day", "day", "num_orders", "spend_cents"])
    levels = replayed(batch, programme) if levels is None else levels
    for name, column in (("level_from", "valid_from"), ("level", "level"), ("own_level", "own_level")):
        lists = [[row[column] for row in levels[member] if row["valid_from"] <= through] for member in member_id]
        batch = batch.append_column(name, pa.array(lists, longs))
    return batch


def replayed(batch: pa.RecordBatch, programme: LevelRules) -> dict[str, list[dict]]:
    """Every change of level by member."""
    decided = decide_batch(batch, ReplayPlan(programme, LAST_DAY)).to_pylist()
    return {m: [row for row in decided if row["member_id"] == m] for m in batch.column("member_id").to_pylist()}


def computed(batch: pa.RecordBatch, days: tuple[int, ...], programme: LevelRules) -> dict[tuple[str, int], bytes]:
    """Every row's bytes by member and day."""
    out = compute_batch(batch, WindowPlan(MEASURES, days, DECLARED, 4, programme, 28))
    rows = {}
    for number in range(out.num_rows):
        row = out.slice(number, 1)
        numbers = [np.asarray(row.column(name).flatten().to_numpy(zero_copy_only=False)) for name in ("doubles",)]
        text = repr([row.column(name).to_pylist() for name in ("known_day", "longs", "weekly", "standing")]).encode()
        rows[row.column("member_id")[0].as_py(), row.column("as_of_day")[0].as_py()] = text + numbers[0].tobytes()
    return rows


@pytest.mark.parametrize(
    ("programme", "every_days"),
    [
        (rules(window_days=28), 1),
        (rules(window={"period": "quarter"}, review={"every": "month"}, kept_for={"days": 40}, soft_landing=True), 14),
    ],
    ids=["trailing days, every day", "quarters with reviews, every second week"],
)
def test_half_a_year_day_by_day_is_the_same_half_year_in_one_range(programme: LevelRules, every_days: int):
    days = tuple(range(FIRST_DAY, FIRST_DAY + NUM_DAYS, every_days))
    everything = history(LAST_DAY, programme)
    levels = replayed(everything, programme)
    in_one_range = computed(everything, days, programme)
    # Day by day, as a shop runs: each day with what had come by then.
    day_by_day: dict[tuple[str, int], bytes] = {}
    for day in days:
        day_by_day |= computed(history(day, programme, levels), (day,), programme)
    assert {key[0] for key in in_one_range} == {f"m{member}" for member in range(NUM_MEMBERS)}
    assert day_by_day == in_one_range
