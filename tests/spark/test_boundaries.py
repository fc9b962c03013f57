"""Each boundary day three times: a row the day before it (1 cent), on it (20) and the day after (300).

A sum then says which of the three days it took: 320 is "from this day on", 21 "up to this day", 1 "not this day".
The window is the 7 days that end with the as-of date, the level window the last 10, the label ``(2, 7]``, the longer
window of inactivity ``(2, 12]``, all counted from the as-of date. A sequence has two weeks.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.examples.labels import LabelWindows, build_labels, labels_as_features
from memberlevel_spark.features.assemble import build_member_features, build_member_sequences
from memberlevel_spark.features.feature import Feature
from memberlevel_spark.features.windows import WindowPlan, build_windows, days_since_epoch
from memberlevel_spark.levels.replay import build_member_levels
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import MEASURES
from memberlevel_spark.timeline import LabelWindow

pytestmark = pytest.mark.spark

AS_OF = date(2024, 3, 10)
RULES = LevelRules(
    LevelsConfig.model_validate(
        {
            "metric": "spend_cents",
            "window_days": 10,
            "programme": [{"name": "base"}, {"name": "silver", "at_least": 100}, {"name": "gold", "at_least": 300}],
        }
    )
)
DECLARED = (Feature("spend_cents", "sum", window_days=7), Feature("num_orders", "count", window_days=7))
WINDOWS = LabelWindows(LabelWindow(2, 5), LabelWindow(2, 10), AS_OF + timedelta(days=20))


def at(offset: int) -> date:
    return AS_OF + timedelta(days=offset)


@dataclass(frozen=True)
class Boundary:
    """What is expected of the member whose three rows lie around ``day``."""

    name: str
    day: int
    window: int = 0  # cents in the 7 days
    weeks: tuple[int, int] = (0, 0)  # cents of the newest week, and of the one before
    metric: int = 0  # cents in the level window of the as-of date
    carried: int = 0  # cents of those that still count on the label date
    label: int = 0  # cents in the label window
    levels: tuple[int, int] = (0, 0)  # held on the as-of date, and on the label date
    inactive: bool = True


BOUNDARIES = (
    Boundary("first day of the sequence", -13, weeks=(0, 320)),
    Boundary("day before the level window", -10, weeks=(0, 321), metric=300, levels=(2, 0)),
    Boundary("first day of the level window", -9, weeks=(0, 321), metric=320, levels=(2, 0)),
    Boundary("day before the window", -7, window=300, weeks=(300, 21), metric=321, levels=(2, 0)),
    Boundary("first day in the window", -6, window=320, weeks=(320, 1), metric=321, levels=(2, 0)),
    Boundary("day before what is carried over", -3, 321, (321, 0), metric=321, carried=300, levels=(2, 2)),
    Boundary("first day that is carried over", -2, 321, (321, 0), metric=321, carried=320, levels=(2, 2)),
    Boundary("as-of day", 0, window=21, weeks=(21, 0), metric=21, carried=21, levels=(0, 2)),
    Boundary("first day of the gap", 1, window=1, weeks=(1, 0), metric=1, carried=1, levels=(0, 2)),
    Boundary("last day of the gap", 2, label=300, levels=(0, 2), inactive=False),
    Boundary("first label day", 3, label=320, levels=(0, 2), inactive=False),
    Boundary("last label day", 7, label=21, inactive=False),
    Boundary("day after the label", 8, label=1, inactive=False),
    Boundary("last day of the longer window", 12, inactive=False),
    Boundary("second day after the longer window", 14, inactive=True),
)


def member_days(spark: SparkSession) -> DataFrame:
    """Three tiles of each boundary's member, an order each."""
    names = (*MEASURES, "num_events")
    rows = [
        (b.name, at(b.day + step), *({"spend_cents": cents, "num_orders": 1, "num_events": 1}.get(n, 0) for n in names))
        for b in BOUNDARIES
        for step, cents in ((-1, 1), (0, 20), (1, 300))
    ]
    return spark.createDataFrame(rows, "member_id string, day date, " + ", ".join(f"{name} long" for name in names))


@pytest.fixture(scope="module")
def made(spark: SparkSession) -> dict[str, Row]:
    """Everything that is known of each boundary's member on the as-of date, and its label."""
    known = spark.createDataFrame([(b.name, at(-100)) for b in BOUNDARIES], "member_id string, known_from date")
    tiles = member_days(spark)
    levels = build_member_levels(known, tiles, RULES, through=at(20))
    plan = WindowPlan(("num_orders", "spend_cents"), days_since_epoch([AS_OF]), DECLARED, 2, RULES, 7)
    windows = build_windows(known, tiles, levels, plan)
    features = build_member_features(windows, DECLARED, RULES)
    sequences = build_member_sequences(windows, plan.measures, 2)
    labels = build_labels(features, tiles, levels, dates=[AS_OF], windows=WINDOWS).drop("level_now")
    key = ["member_id", "as_of_date"]
    rows = features.join(sequences, key).join(labels, key).collect()
    assert len(rows) == len(BOUNDARIES)
    return {row["member_id"]: row for row in rows}


def each_boundary() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("boundary", BOUNDARIES, ids=lambda boundary: boundary.name.replace(" ", "_"))


@each_boundary()
def test_features_take_the_days_of_their_window(made: dict[str, Row], boundary: Boundary):
    row = made[boundary.name]
    days_taken = {0: 0, 1: 1, 20: 1, 300: 1, 21: 2, 320: 2, 321: 3}[boundary.window]
    assert (row.spend_cents_sum_7d, row.num_orders_count_7d) == (boundary.window, days_taken)


@each_boundary()
def test_weekly_sequences_take_seven_days_each(made: dict[str, Row], boundary: Boundary):
    assert tuple(made[boundary.name].weekly_spend_cents) == boundary.weeks


@each_boundary()
def test_level_metrics_take_their_window_and_what_is_carried_over(made: dict[str, Row], boundary: Boundary):
    row = made[boundary.name]
    assert (row.level_spend_cents_now, row.level_spend_cents_carry_over) == (boundary.metric, boundary.carried)
    assert row.level_now == boundary.levels[0]


@each_boundary()
def test_labels_take_the_days_after_the_gap_through_the_label_date(made: dict[str, Row], boundary: Boundary):
    row, bought = made[boundary.name], boundary.label > 0
    assert (row.spend_cents, row.bought, row.churned) == (boundary.label, bought, not bought)
    assert (row.target_level, row.known_from_date) == (boundary.levels[1], at(7))
    assert (row.moved_up, row.moved_down) == (
        boundary.levels[1] > boundary.levels[0],
        boundary.levels[1] < boundary.levels[0],
    )
    assert (row.became_inactive, row.inactive_known_from_date) == (boundary.inactive, at(12))


@pytest.mark.parametrize(("data_through", "expected"), [(11, None), (12, True)])
def test_inactivity_is_null_until_its_own_window_is_complete(
    spark: SparkSession, data_through: int, expected: bool | None
):
    windows = LabelWindows(WINDOWS.label, WINDOWS.inactive, at(data_through))
    population = spark.createDataFrame([("silent", AS_OF, 0)], "member_id string, as_of_date date, level_now int")
    held = "member_id string, valid_from date, valid_to date, level int"
    levels = spark.createDataFrame([("silent", at(-100), None, 0)], held)
    row = build_labels(population, member_days(spark), levels, dates=[AS_OF], windows=windows).first()
    assert row is not None and (row.churned, row.num_orders, row.became_inactive) == (True, 0, expected)


def test_the_first_category_is_that_of_the_first_line_in_the_window(spark: SparkSession):
    def line(member: str, day: int, hour: int, category: str | None) -> tuple[object, ...]:
        return member, at(day), f"{at(day)} {hour:02d}:00:00", f"{member}{day}-{hour}", category

    lines = spark.createDataFrame(
        [
            line("wine first", 2, 9, "gap"),
            line("wine first", 3, 9, "bread"),
            line("wine first", 3, 8, "wine"),
            line("last day", 7, 9, "tea"),
            line("day after", 8, 9, "late"),
            line("no category", 3, 9, None),
            line("no category", 4, 9, "wine"),
        ],
        "member_id string, day date, event_ts string, event_id string, category string",
    )
    names = ("wine first", "last day", "day after", "no category", "silent")
    population = spark.createDataFrame(
        [(n, AS_OF, 0) for n in names], "member_id string, as_of_date date, level_now int"
    )
    levels = population.selectExpr("member_id", "date'2023-01-01' valid_from", "cast(null as date) valid_to", "0 level")
    labels = build_labels(
        population, member_days(spark), levels, dates=[AS_OF], windows=WINDOWS, order_lines=lines
    ).collect()
    expected = dict.fromkeys(names) | {"wine first": "wine", "last day": "tea"}
    assert {row.member_id: row.first_category for row in labels} == expected


def test_a_past_label_is_a_feature_from_the_day_on_which_it_is_known(spark: SparkSession, made: dict[str, Row]):
    """Three labels, a week apart, known seven days later; inactivity twelve days later, of the last one not yet."""
    schema = "member_id string, as_of_date date, known_from_date date, target_level int, moved_up boolean,"
    schema += " moved_down boolean, churned boolean, bought boolean, num_orders long, spend_cents long,"
    schema += " first_category string, became_inactive boolean, inactive_known_from_date date"

    def label(day: int, cents: int, inactive: bool | None) -> tuple[object, ...]:
        flags = (True, False, cents == 0, cents > 0)
        return "a", at(day), at(day + 7), 1, *flags, 1, cents, "wine", inactive, at(day + 12)

    labels = spark.createDataFrame([label(-14, 1, True), label(-7, 20, False), label(0, 300, None)], schema)
    days = [at(offset) for offset in (-8, -7, -3, -2, -1, 0, 5, 6, 7, 12)]
    rows = labels_as_features(labels, days).orderBy("as_of_date").collect()
    got = [((r.as_of_date - AS_OF).days, r.last_spend_cents, r.last_became_inactive) for r in rows]
    assert got == [
        (-7, 1, None),  # known on this very day; there is none the day before
        (-3, 1, None),
        (-2, 1, True),  # inactivity five days later than the rest
        (-1, 1, True),
        (0, 20, True),
        (5, 20, False),
        (6, 20, False),
        (7, 300, False),
        (12, 300, False),  # the last one is not mature: the one before stays
    ]
