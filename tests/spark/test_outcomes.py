"""The stage outcomes: scores beside what happened, judged once, in any order, and only when it is known."""

import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.labels import LabelWindows
from memberlevel_spark.forecast_schemas import MEMBER_SCORES, MIGRATIONS, OUTCOMES
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.levels.stage import STAMP
from memberlevel_spark.monitoring.migration import build_moves
from memberlevel_spark.monitoring.outcomes import Sources, build_happened, build_matured
from memberlevel_spark.monitoring.outcomes_stage import run_outcomes
from memberlevel_spark.report.came_true import came_true
from memberlevel_spark.run import Run, StageResult
from memberlevel_spark.schemas import (
    MEASURES,
    MEMBER_DAYS,
    MEMBER_LEVELS,
    TableContract,
    member_features_contract,
    optional,
)
from memberlevel_spark.tables import DeltaTables
from memberlevel_spark.timeline import LabelWindow
from tests.tiny_shop import tiny_config

pytestmark = pytest.mark.spark

DAY = date(2024, 6, 1)
LEVELS = LevelsConfig.model_validate(
    {"metric": "spend_cents", "window_days": 30, "programme": [{"name": "base"}, {"name": "top", "at_least": 5000}]}
)
FEATURES = member_features_contract([optional("tenure_days", T.IntegerType())])


def at(days: int) -> date:
    return DAY + timedelta(days=days)


def score(member: str, as_of: date, level_now: int, p_top: float, *, version: str = "m1") -> dict[str, Any]:
    numbers = {"p_buy": 0.75, "expected_orders": 2.0, "expected_spend_cents": 4000.0}
    numbers |= {"spend_cents_low": 0.0, "spend_cents_median": 3500.0, "spend_cents_high": 9000.0}
    levels = {"level_now": level_now, "level_predicted": int(p_top > 0.5), "p_level": [1 - p_top, p_top]}
    levels |= {"p_up": 0.0 if level_now else p_top, "p_down": 1 - p_top if level_now else 0.0}
    key = {"member_id": member, "as_of_date": as_of, "model_version": version}
    return {**key, **levels, **numbers, "p_churn": 0.25, "expected_level": p_top}


def scores_of(spark: SparkSession, rows: Sequence[dict[str, Any]]) -> DataFrame:
    return spark.createDataFrame(list(rows), MEMBER_SCORES.schema)


def tiles(spark: SparkSession, rows: Sequence[tuple[str, date, int, int]]) -> DataFrame:
    empty = dict.fromkeys([*MEASURES, "num_events"], 0)
    full = [
        {"member_id": member, "day": day, **empty, "num_orders": orders, "spend_cents": cents}
        for member, day, orders, cents in rows
    ]
    return spark.createDataFrame(full, MEMBER_DAYS.schema)


def stretches(spark: SparkSession, rows: Sequence[tuple[str, date, date | None, int]], rules: str) -> DataFrame:
    full = [(rules, member, first, end, level, level, "earned", {}) for member, first, end, level in rows]
    return spark.createDataFrame(full, MEMBER_LEVELS.schema)


def plain(frame: DataFrame) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in frame.collect())


def test_each_score_is_beside_what_happened_after_its_date_and_what_was_spent_before(spark: SparkSession):
    label = LabelWindow(2, 10)
    scores = [score("a", DAY, 0, 0.6), score("a", DAY, 1, 0.3, version="m2"), score("a", at(7), 1, 0.8)]
    scores += [score("silent", DAY, 0, 0.1), score("erased", DAY, 0, 0.5)]
    days = [("a", at(-10), 9, 90), ("a", at(-9), 1, 100), ("a", DAY, 1, 1000), ("a", at(2), 9, 9000)]
    days += [("a", at(3), 1, 10), ("a", at(12), 2, 20), ("a", at(13), 9, 90000), ("a", at(19), 0, -5)]
    levels = [("a", at(-50), at(12), 0), ("a", at(12), None, 1), ("silent", at(-50), None, 0)]
    features = spark.createDataFrame([("a", DAY, 51)], "member_id string, as_of_date date, tenure_days int")
    sources = Sources(features, tiles(spark, days), stretches(spark, levels, "r"))
    windows = LabelWindows(label, LabelWindow(2, 20), at(30))
    said, dates = scores_of(spark, scores), [DAY, at(7)]
    happened = build_happened(said, sources, dates=dates, windows=windows)
    # (3rd .. 12th day] for the first date, (10th .. 19th] for the second.
    assert plain(happened) == [
        ("a", DAY, 1, 3, 30),
        ("a", at(7), 1, 11, 90015),
        ("silent", DAY, 0, 0, 0),
    ]
    matured = build_matured(said, happened, sources, dates=dates, windows=windows, profile=[])
    columns = ("member_id", "as_of_date", "model_version", "level_now", "target_level", "num_orders", "spend_cents")
    assert plain(matured.select(*columns, "spend_cents_before", "tenure_days", "recent_orders")) == [
        ("a", DAY, "m1", 0, 1, 3, 30, 1100, 51, 11),
        ("a", DAY, "m2", 1, 1, 3, 30, 1100, 51, 11),
        ("a", at(7), "m1", 1, 1, 11, 90015, 10010, None, 21),
        ("silent", DAY, "m1", 0, 0, 0, 0, 0, None, 0),
    ]


def test_moves_are_expected_by_their_chances_and_made_by_members_with_the_money_of_those_who_fell(spark: SparkSession):
    rows = [
        ("a", 0, [0.7, 0.2, 0.1], 1, 30, 500),
        ("b", 0, [0.6, 0.4, 0.0], 0, 7, 50),
        ("c", 2, [0.2, 0.3, 0.5], 0, 4, 900),
        ("d", 2, [0.0, 0.5, 0.5], 1, 2, 80),
    ]
    schema = "member_id string, level_now int, p_level array<double>, target_level int, spend_cents long"
    frame = spark.createDataFrame(rows, f"{schema}, spend_cents_before long")
    runs = frame.selectExpr("*", "date'2024-06-01' as as_of_date", "'m1' as model_version")
    assert [row[2:] for row in plain(build_moves(runs, 3))] == [
        (0, 0, pytest.approx(1.3), 1, 7, 0),
        (0, 1, pytest.approx(0.6), 1, 30, 0),
        (0, 2, pytest.approx(0.1), 0, 0, 0),
        (1, 0, 0.0, 0, 0, 0),
        (1, 1, 0.0, 0, 0, 0),
        (1, 2, 0.0, 0, 0, 0),
        (2, 0, pytest.approx(0.2), 1, 4, 900),
        (2, 1, pytest.approx(0.8), 1, 2, 80),
        (2, 2, pytest.approx(1.0), 0, 0, 0),
    ]


class ScoredShop:
    """A shop with tables as the stages before leave them; labels look 28 days ahead, levels are decided for 60."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        features = tiny_config().features.model_copy(update={"profile": {}})
        self.spark = spark
        self.config = tiny_config(levels=LEVELS, features=features).model_copy(update={"output_dir": folder})
        self.tables = DeltaTables(spark, str(self.config.shop_dir / "tables"), {"run_id": "test"})

    def fill(self) -> None:
        """Members a and b; a rises on the 20th day, b falls on the 40th."""
        levels = [("a", at(-99), at(20), 0), ("a", at(20), None, 1), ("b", at(-99), at(40), 1), ("b", at(40), None, 0)]
        days = [("a", at(5), 1, 6000), ("b", at(-3), 2, 800), ("b", at(30), 1, 100)]
        rules = LevelRules.of(LEVELS, MEASURES).version
        stamped = self.tables.with_stamp(**{STAMP: {"rules_version": rules, "decided_through": str(at(60))}})
        stamped.replace(MEMBER_LEVELS, stretches(self.spark, levels, rules))
        self.tables.replace(MEMBER_DAYS, tiles(self.spark, days))
        self.tables.replace(FEATURES, self.spark.createDataFrame([], FEATURES.schema))
        self.score([*BOTH, *OTHER_MODEL, *LATER])

    def score(self, scores: Sequence[dict[str, Any]]) -> None:
        self.tables.replace(MEMBER_SCORES, scores_of(self.spark, scores))

    def judge(self, *dates: date, through: date | None = None) -> StageResult:
        timeline = self.config.timeline.model_copy(update={"data_through": through or at(90)})
        config = self.config.model_copy(update={"timeline": timeline})
        result = run_outcomes(Run(config, self.tables, dates or None))
        result.counts.require_balance("outcomes")
        return result

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        names = [name for name in (OUTCOMES.name, MIGRATIONS.name) if self.tables.exists(name)]
        return {name: plain(self.tables.read(name)) for name in names}

    def accuracy(self) -> dict[tuple[date, str], float]:
        rows = self.tables.read(OUTCOMES.name).where("dimension = 'all' and metric = 'accuracy'").collect()
        return {(row["as_of_date"], row["model_version"]): row["value"] for row in rows}


BOTH = [score("a", DAY, 0, 0.6), score("b", DAY, 1, 0.4)]
OTHER_MODEL = [score("a", DAY, 0, 0.2, version="m2")]
LATER = [score("a", at(14), 0, 0.9), score("b", at(14), 1, 0.3)]


@pytest.fixture(scope="module")
def judged(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> ScoredShop:
    """Everything that there is to judge, at once; not to be changed."""
    shop = ScoredShop(spark, tmp_path_factory.mktemp("judged"))
    shop.fill()
    assert shop.judge().note == "3 run(s) of 2 date(s) judged"
    return shop


@pytest.fixture
def shop(judged: ScoredShop, tmp_path: Path) -> ScoredShop:
    """The same shop before anything was judged."""
    own = ScoredShop(judged.spark, tmp_path)
    unjudged = shutil.ignore_patterns(OUTCOMES.name, MIGRATIONS.name)
    shutil.copytree(judged.tables.root, own.tables.root, ignore=unjudged)
    return own


def test_before_anything_is_mature_nothing_is_written_and_the_note_says_when_it_will_be(shop: ScoredShop):
    result = shop.judge(through=at(27))
    assert result.note == (
        f"nothing to judge: 0 run(s) were judged before, data and levels reach {at(27)};"
        f" not mature yet: {DAY}, {at(14)}, the first on {at(28)}"
    )
    assert result.written == {} and shop.rows() == {}
    assert "nothing to judge" in shop.judge(DAY, through=at(27)).note  # asked for by name it is as immature
    shutil.rmtree(shop.tables.path(MEMBER_SCORES.name))
    assert shop.judge().note == "nothing to judge: nobody was scored yet"


def test_every_version_of_a_date_is_judged_once_it_is_mature_and_in_any_order_it_comes_to_the_same(
    shop: ScoredShop, judged: ScoredShop
):
    assert shop.judge(through=at(28)).note.startswith("2 run(s) of 1 date(s) judged; not mature yet")
    assert shop.accuracy() == {(DAY, "m1"): 0.5, (DAY, "m2"): 0.0}  # b keeps its level until the 40th day
    again = shop.judge(through=at(41))
    assert again.written == {} and "2 run(s) were judged before" in again.note
    result = shop.judge(through=at(42))
    assert result.note == "1 run(s) of 1 date(s) judged" and result.counts.rows_in == 2
    assert shop.accuracy()[at(14), "m1"] == 1.0
    shop.judge(DAY)  # the earlier one again, after the later one
    assert shop.rows() == judged.rows() and len(shop.rows()[MIGRATIONS.name]) == 3 * 4


def test_a_run_that_was_cut_short_between_its_tables_is_judged_again(shop: ScoredShop, judged: ScoredShop):
    moves = judged.tables.read(MIGRATIONS.name)
    shop.tables.replace(MIGRATIONS, moves)
    assert shop.judge().note == "3 run(s) of 2 date(s) judged"
    assert shop.rows() == judged.rows()


def test_a_date_that_is_asked_for_is_judged_again_by_what_is_said_and_known_now(shop: ScoredShop):
    shop.score(BOTH)
    shop.judge()
    shop.score([score("a", DAY, 0, 0.1), *BOTH[1:], *OTHER_MODEL])
    shop.judge()
    assert shop.accuracy() == {(DAY, "m1"): 0.5, (DAY, "m2"): 0.0}  # m1 as it was judged first
    result = shop.judge(DAY, at(1))
    assert result.note == f"2 run(s) of 1 date(s) judged; no scores as of {at(1)}"
    assert shop.accuracy() == {(DAY, "m1"): 0.0, (DAY, "m2"): 0.0}


def test_members_who_are_not_known_any_more_and_versions_for_other_levels_or_horizons_are_left_out(shop: ScoredShop):
    registry = shop.config.shop_dir / "registry"
    ours, theirs = LEVELS.model_dump_json(), LEVELS.model_dump_json().replace("5000", "6000")
    for version, levels, horizon in (("m1", ours, 28), ("m2", theirs, 28), ("m3", ours, 56)):
        (registry / version).mkdir(parents=True)
        (registry / version / "levels.json").write_text(levels)
        (registry / version / "config.yaml").write_text(f"timeline: {{gap_days: 0, horizon_days: {horizon}}}")
    three = {**score("a", DAY, 0, 0.5, version="m4"), "p_level": [0.5, 0.25, 0.25]}
    others = [score("a", DAY, 0, 0.5, version=version) for version in ("m2", "m3")]
    shop.score([*BOTH, *others, three, score("erased", DAY, 0, 0.5), score("erased", at(14), 0, 0.5)])
    result = shop.judge()
    assert result.note.endswith("left out, of another level programme or horizon: m2, m3, m4")
    assert (result.counts.rows_in, result.counts.rows_out, result.counts.filtered) == (4, 2, 2)
    assert shop.accuracy() == {(DAY, "m1"): 0.5}  # of the later date nobody is left


def test_levels_that_lag_behind_the_data_mature_nothing(shop: ScoredShop):
    """The tiles may reach further: a level that is still open would look like one that was kept."""
    shop.score([score("a", at(33), 1, 0.9)])
    assert f"data and levels reach {at(60)}; not mature yet: {at(33)}" in shop.judge(through=at(90)).note
    shop.config = shop.config.model_copy(update={"levels": LEVELS.model_copy(update={"window_days": 31})})
    with pytest.raises(ArtefactError, match="member_levels holds no levels by the present rules"):
        shop.judge()


def test_tables_with_other_columns_are_made_anew_and_never_by_a_single_date(shop: ScoredShop, judged: ScoredShop):
    old = TableContract(OUTCOMES.name, OUTCOMES.key, T.StructType(OUTCOMES.schema.fields[:-1]))
    shop.tables.replace(old, judged.tables.read(OUTCOMES.name).drop("members"))
    with pytest.raises(ArtefactError, match=r"outcomes differs in members. Rebuild it"):
        shop.judge(DAY)
    shop.judge()
    assert shop.rows() == judged.rows()


def test_the_report_gets_a_row_per_date_and_version_and_the_moves_of_the_champion(judged: ScoredShop):
    tables = [judged.tables.read(name) for name in (OUTCOMES.name, MIGRATIONS.name)]
    told = came_true(*tables, since=DAY, champion="m2", num_levels=2)
    runs = [(row["as_of_date"], row["model_version"], row["members"], row["accuracy"]) for row in told["came_true"]]
    assert runs == [(at(14), "m1", 2, 1.0), (DAY, "m1", 2, 0.5), (DAY, "m2", 1, 0.0)]
    assert told["came_true"][2]["downgrade_auc"] is None
    moves = told["moves"]
    assert (moves.as_of_date, moves.model_version) == (DAY, "m2")
    assert (moves.expected, moves.realised) == ([[0.8, 0.2], [0.0, 0.0]], [[0, 1], [0, 0]])
    assert {row["dimension"] for row in told["came_true_tenths"]} == {
        *("tenth of p_up", "tenth of p_down", "tenth of p_churn", "tenth of expected_spend")
    }
    newest = came_true(*tables, since=DAY, champion="m9", num_levels=2)["moves"]
    assert (newest.as_of_date, newest.num_fallen, newest.at_risk_cents) == (at(14), 1, 800)
    assert came_true(*tables, since=at(1), champion="m1", num_levels=3)["moves"] is None
    nothing = came_true(*tables, since=at(15), champion="m1", num_levels=2)
    assert nothing == {"came_true": [], "came_true_tenths": [], "moves": None}
