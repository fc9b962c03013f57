"""The level engine next to the plain-Python reference: random programmes, batches of random members."""

import os
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.levels.batches import MANUAL, Tiles, assignments_of
from memberlevel_spark.levels.calendar import ProgrammeCalendar
from memberlevel_spark.levels.engine import Earning, Metrics
from memberlevel_spark.levels.replay import DECIDED, ReplayPlan, decide_batch
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.levels.standing import standings
from memberlevel_spark.timeline import date_of, day_number
from tests.level_programmes import History, histories, programmes
from tests.level_reference import Standing, Stretch, missing, replay, standing

# Batches of up to five members per test; MEMBERLEVEL_EXAMPLES=1000 looks into the corners, in some minutes.
EXAMPLES = int(os.environ.get("MEMBERLEVEL_EXAMPLES", "40"))
Row = tuple[date, int, int, str, tuple[int, ...]]


def batch_of(config: LevelsConfig, members: Sequence[History], *, since: int | None = None) -> pa.RecordBatch:
    """The members as ``with_histories`` hands them on, with tiles from ``since`` only."""
    columns: dict[str, list[object]] = {
        name: [] for name in ("member_id", "known_day", "day", *config.metrics, *MANUAL)
    }
    for number, member in enumerate(members):
        tiles = [(day_number(day), tile) for day, tile in member.tiles.items()]
        tiles = [(day, tile) for day, tile in tiles if since is None or day >= since]
        columns["member_id"].append(f"m{number}")
        columns["known_day"].append(day_number(member.known))
        columns["day"].append([day for day, _ in tiles] if tiles else None)
        for metric in config.metrics:
            columns[metric].append([tile.get(metric, 0) for _, tile in tiles] if tiles else None)
        for name, values in zip(MANUAL, _by_hand(config, member), strict=True):
            columns[name].append(values)
    kinds = {"member_id": pa.string(), "known_day": pa.int32()}
    kinds |= {name: pa.list_(pa.int32()) for name in ("day", *MANUAL)} | {
        m: pa.list_(pa.int64()) for m in config.metrics
    }
    return pa.record_batch({name: pa.array(values, kinds[name]) for name, values in columns.items()})


def _by_hand(config: LevelsConfig, member: History) -> tuple[list[int | None], ...]:
    given_by_hand = member.assignments if config.manual else []
    first = [day_number(a.first) for a in given_by_hand]
    until = [None if a.until is None else day_number(a.until) for a in given_by_hand]
    return first, until, [a.level for a in given_by_hand]


def rows_of(decided: pa.RecordBatch, num_members: int) -> list[list[Row]]:
    rows: list[list[Row]] = [[] for _ in range(num_members)]
    for row in decided.to_pylist():
        values = (row["level"], row["own_level"], row["reason"], tuple(row["metric_values"]))
        rows[int(row["member_id"][1:])].append((date_of(row["valid_from"]), *values))
    return rows


def expected(config: LevelsConfig, member: History, through: date) -> list[Row]:
    stretches = replay(config, member.known, member.tiles, member.assignments, through)
    return [(s.valid_from, s.level, s.own_level, s.reason, s.metric_values) for s in stretches]


@st.composite
def batches(draw: st.DrawFn) -> tuple[LevelsConfig, list[History], date]:
    config = draw(programmes())
    members = draw(st.lists(histories(len(config.programme)), min_size=1, max_size=5))
    return config, members, max(member.through for member in members)


@settings(max_examples=EXAMPLES, deadline=None)
@given(batches())
def test_a_batch_of_members_is_replayed_as_the_laws_say(case: tuple[LevelsConfig, list[History], date]):
    config, members, through = case
    decided = decide_batch(batch_of(config, members), ReplayPlan(LevelRules(config), day_number(through)))
    assert decided.schema.names == [field.split()[0] for field in DECIDED.split(", ")]
    assert rows_of(decided, len(members)) == [expected(config, member, through) for member in members]


@settings(max_examples=EXAMPLES, deadline=None)
@given(batches(), st.integers(0, 900))
def test_a_replay_that_goes_on_from_any_day_equals_the_full_one(
    case: tuple[LevelsConfig, list[History], date], days: int
):
    """It gets the levels held on that day, and only the tiles of the programme's memory."""
    config, members, through = case
    held = max(min(member.known for member in members), through - timedelta(days=days))
    rules = LevelRules(config)
    batch = batch_of(config, members, since=day_number(held) - rules.memory_days)
    before = [_last(replay(config, m.known, m.tiles, m.assignments, held)) for m in members]
    batch = batch.append_column("held_level", pa.array([s and s.level for s in before], pa.int32()))
    batch = batch.append_column("held_own", pa.array([s and s.own_level for s in before], pa.int32()))
    decided = decide_batch(batch, ReplayPlan(rules, day_number(through), day_number(held)))
    later = [[row for row in expected(config, member, through) if row[0] > held] for member in members]
    assert rows_of(decided, len(members)) == later


def _last(stretches: list[Stretch]) -> Stretch | None:
    return stretches[-1] if stretches else None


@settings(max_examples=EXAMPLES, deadline=None)
@given(batches(), st.lists(st.integers(0, 800), min_size=1, max_size=3, unique=True), st.integers(0, 100))
def test_standings_are_those_of_the_laws_and_see_nothing_after_the_as_of_date(
    case: tuple[LevelsConfig, list[History], date], backs: list[int], reach: int
):
    config, members, through = case
    first_all_known = max(member.known for member in members)
    as_of_dates = sorted({max(first_all_known, through - timedelta(days=back)) for back in backs})
    want = [[standing(config, m.known, m.tiles, m.assignments, day, reach) for m in members] for day in as_of_dates]
    own = np.array([[member.own_level for member in day] for day in want])
    assert standings_of(config, members, as_of_dates, own, reach) == want


def standings_of(
    config: LevelsConfig, members: Sequence[History], as_of_dates: Sequence[date], own_AM: np.ndarray, reach: int
) -> list[list[Standing]]:
    """The engine's answers, put into the reference's words."""
    rules, batch = LevelRules(config), batch_of(config, members)
    tiles, days = Tiles.of(batch, rules.metrics), [day_number(day) for day in as_of_dates]
    axis = (days[0] - 2 * rules.memory_days, days[-1] + reach)
    metrics = Metrics.of(axis, len(members), tiles.member_T, tiles.day_T, tiles.values_XT)
    calendar = ProgrammeCalendar(config, tiles.known_M, axis[1])
    earning, by_hand = Earning(rules, calendar, metrics, tiles.known_M), assignments_of(batch, rules)
    found = []
    for day, own_M, each in zip(days, own_AM, standings(earning, by_hand, own_AM, days, reach_days=reach), strict=True):
        shown_M = by_hand.shown(own_M, day)
        found.append([])
        for m in range(len(members)):
            now, then = tuple(map(int, each.metrics_now_XM[:, m])), tuple(map(int, each.carry_over_XM[:, m]))
            missing_now, missing_then = missing(config, now), missing(config, then)
            level, idle = int(shown_M[m]), int(each.level_if_idle_M[m])
            to_keep = tuple(0 if idle >= level and value is not None else value for value in missing_then[level])
            to_level = missing_now[1:], missing_then[1:]
            found[-1].append(
                Standing(level, int(own_M[m]), now, then, *to_level, to_keep, idle, int(each.days_to_review_M[m]))
            )
    return found
