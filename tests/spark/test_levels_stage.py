"""The stage levels on Delta tables: going on from before equals deciding in one go; points; levels by hand."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.config.levels import EarnConfig, LevelsConfig
from memberlevel_spark.errors import ArtefactError, DataQualityError
from memberlevel_spark.levels.points import points_of_event
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.levels.stage import read_levels, run_levels
from memberlevel_spark.run import Run
from memberlevel_spark.schemas import MEASURES, MEMBER_DAYS, MEMBERS
from memberlevel_spark.tables import DAYS_STAMP, DeltaTables
from tests.level_reference import Assignment, replay
from tests.made_world import world_config

pytestmark = pytest.mark.spark

DAY = date(2024, 1, 1)
PROGRAMME = [
    {"name": "base"},
    {"name": "silver", "at_least": {"spend_cents": 60}},
    {"name": "gold", "at_least": {"spend_cents": 150, "num_orders": 2}},
]
LEVELS = {
    "programme": PROGRAMME,
    "window": {"days": 30},
    "review": {"every": "month", "day": 10},
    "kept_for": {"days": 35},
    "grace_days": 3,
    "soft_landing": True,
    "manual": {"level": "status", "until": "status_until"},
}
Profile = tuple[str, date, dict[str, str]]
Tile = tuple[str, date, int]


class LevelShop:
    """A shop that has members and daily tiles, and nothing before them."""

    def __init__(self, spark: SparkSession, folder: Path, **levels: object) -> None:
        self.spark, self.folder = spark, folder
        self.config = LevelsConfig.model_validate({**LEVELS, **levels})
        self.tables = DeltaTables(spark, str(folder / "tables"), {"run_id": "test"})

    def put(self, profiles: Sequence[Profile], tiles: Sequence[Tile], days: Sequence[date] | None = None) -> None:
        """Everybody's profiles, and the tiles: all of them, or those of ``days``."""
        rows = [(member, first, None, True, attributes, first, {}) for member, first, attributes in profiles]
        self.tables.replace(MEMBERS, self.spark.createDataFrame(rows, MEMBERS.schema))
        empty = dict.fromkeys([*MEASURES, "num_events"], 0)
        full = [(m, day, *(empty | {"num_orders": 1, "spend_cents": cents}).values()) for m, day, cents in tiles]
        frame = self.spark.createDataFrame(full, MEMBER_DAYS.schema)
        if days is None:
            self.tables.with_stamp(**{DAYS_STAMP: "all"}).replace(MEMBER_DAYS, frame)
        else:
            stamped = self.tables.with_stamp(**{DAYS_STAMP: [str(day) for day in days]})
            stamped.replace_slice(MEMBER_DAYS, frame, {"day": list(days)})

    def run(self, through: date) -> Run:
        config = world_config(num_members=10)
        timeline = config.timeline.model_copy(update={"data_through": through})
        update = {"levels": self.config, "timeline": timeline, "output_dir": self.folder}
        return Run(config.model_copy(update=update), self.tables)

    def levels(self, through: date) -> list[tuple[object, ...]]:
        run = self.run(through)
        rows = read_levels(run, self.tables.version("member_levels")).drop("rules_version").collect()
        return sorted(tuple(row) for row in rows)


def history(rng: random.Random, names: Sequence[str], days: range) -> list[Tile]:
    return [(n, DAY + timedelta(days=d), rng.randrange(-30, 120)) for n in names for d in days if rng.random() < 0.08]


def test_levels_that_go_on_from_before_are_those_of_one_replay_and_of_the_reference(
    spark: SparkSession, tmp_path: Path
):
    rng, names = random.Random(4), [f"m{number}" for number in range(12)]
    profiles: list[Profile] = [(name, DAY + timedelta(days=7 * n), {}) for n, name in enumerate(names)]
    old, late = history(rng, names, range(150)), history(rng, names, range(140, 147))
    new = history(rng, names, range(150, 190))
    shop = LevelShop(spark, tmp_path / "daily")
    shop.put(profiles, old)
    first, through = DAY + timedelta(days=149), DAY + timedelta(days=189)
    assert "all days" in run_levels(shop.run(first)).note
    # Late tiles, a member whose first day turns out to be earlier, one who is given a level, one who is new.
    profiles[3] = ("m3", DAY, {})
    profiles[4] = ("m4", profiles[4][1], {"status": "gold", "status_until": "2024-05-20"})
    profiles.append(("late_joiner", DAY + timedelta(days=160), {}))
    days = sorted({day for _, day, _ in [*late, *new]})
    kept = [tile for tile in old if tile[1] in days]
    late = [tile for tile in late if (tile[0], tile[1]) not in {(m, day) for m, day, _ in kept}]
    shop.put(profiles, [*kept, *late, *new], days)
    assert f"days from {days[0]}" in run_levels(shop.run(through)).note
    at_once = LevelShop(spark, tmp_path / "at_once")
    at_once.put(profiles, [*old, *late, *new])
    run_levels(at_once.run(through))
    assert shop.levels(through) == at_once.levels(through)
    assert shop.levels(through) == sorted(of_reference(shop.config, profiles, [*old, *late, *new], through))


def of_reference(
    config: LevelsConfig, profiles: Sequence[Profile], tiles: Sequence[Tile], through: date
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    names = [level.name for level in config.programme]
    for member, known, attributes in profiles:
        by_hand = []
        if attributes:
            until, level = date.fromisoformat(attributes["status_until"]), names.index(attributes["status"])
            by_hand = [Assignment(known, until, level)]
        own = {day: {"spend_cents": cents, "num_orders": 1} for name, day, cents in tiles if name == member}
        for s in replay(config, known, own, by_hand, through):
            values = dict(zip(config.metrics, s.metric_values, strict=True))
            rows.append((member, s.valid_from, s.valid_to, s.level, s.own_level, s.reason, values))
    return rows


def test_a_run_without_news_changes_nothing_and_other_rules_keep_a_history_of_their_own(
    spark: SparkSession, tmp_path: Path
):
    rng, names, through = random.Random(5), ["a", "b"], DAY + timedelta(days=99)
    shop = LevelShop(spark, tmp_path)
    shop.put([(name, DAY, {}) for name in names], history(rng, names, range(100)))
    run_levels(shop.run(through))
    before, version = shop.levels(through), shop.tables.version("member_levels")
    assert run_levels(shop.run(through)).note == "nothing new"
    assert (shop.levels(through), shop.tables.version("member_levels")) == (before, version)
    other = LevelShop(spark, tmp_path, window={"days": 60})
    with pytest.raises(ArtefactError, match="member_levels holds no levels by the present rules"):
        other.levels(through)
    run_levels(other.run(through))
    assert shop.levels(through) == before != other.levels(through)
    versions = shop.tables.read("member_levels").select("rules_version").distinct().collect()
    assert {row[0] for row in versions} == {LevelRules(shop.config).version, LevelRules(other.config).version}


@pytest.mark.parametrize("given", [{"status": "diamond"}, {"status": "gold", "status_until": "some day"}])
def test_a_level_by_hand_that_cannot_be_read_stops_the_stage(
    spark: SparkSession, tmp_path: Path, given: dict[str, str]
):
    shop = LevelShop(spark, tmp_path)
    shop.put([("a", DAY, given)], [("a", DAY, 5)])
    with pytest.raises(
        DataQualityError, match=r"profiles give levels by hand that cannot be read: (diamond|gold) until"
    ):
        run_levels(shop.run(DAY))


@pytest.mark.parametrize(
    ("event", "points"),
    [
        (("order", 1999, 5, None, DAY), 5 + 39),  # 2 points a unit, the half one is cut
        (("refund", -1999, 0, None, DAY), -39),
        (("order", 1000, 0, "wine", DAY), 60),  # three times
        (("order", 1000, 0, "wine", date(2024, 6, 3)), 100),  # five times, the larger one
        (("order", 1000, 0, "tea", date(2024, 6, 8)), 20),  # the day after the campaign
        (("review", 0, 0, None, date(2024, 6, 1)), 50),
        (("view", 0, 0, None, DAY), 0),
    ],
)
def test_points_of_an_event(spark: SparkSession, event: tuple[object, ...], points: int):
    earn = EarnConfig.model_validate(
        {
            "per_currency_unit": 2,
            "per_event": {"review": 10},
            "multipliers": [
                {"times": 3, "category": "wine"},
                {"times": 5, "first_day": "2024-06-01", "last_day": "2024-06-07"},
            ],
        }
    )
    columns = "event_type string, net_cents long, points long, category string, day date"
    row = spark.createDataFrame([event], columns).select(points_of_event(earn, minor_units=100)).first()
    assert row is not None and row[0] == points
