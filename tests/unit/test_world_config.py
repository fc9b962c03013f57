"""The section ``world:``: bad knobs are refused in words, and a shop without a world is what it was."""

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from memberlevel_spark.cli import run_job
from memberlevel_spark.config import config_fingerprint, load_config
from memberlevel_spark.config.world import DefectKnobs, WorldConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.synthetic.defect_lines import clock_change, defect_lines
from memberlevel_spark.synthetic.defects import DEFECTS
from memberlevel_spark.synthetic.plan import plan_of
from tests.made_world import WORLD_YAML, world_config, world_plan

JOURNEY = WORLD_YAML.with_name("complete_journey.yaml")


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"num_members": 0}, "greater than or equal to 1"),
        ({"purchases": {"shape": 0}}, "greater than 0"),
        ({"season": {"weekday_factors": (1.0, 1.0)}}, "seven numbers, Monday to Sunday"),
        ({"refunds": {"refund_share": 1.2}}, "less than or equal to 1"),
        ({"currencies": [{"code": "yen", "share": 0.1, "rate": 1, "minor_unit_digits": 0}]}, "should match pattern"),
        (
            {
                "currencies": [
                    {"code": "JPY", "share": 0.7, "rate": 0.006, "minor_unit_digits": 0},
                    {"code": "KWD", "share": 0.4, "rate": 3, "minor_unit_digits": 3},
                ]
            },
            "sum to at most 1",
        ),
        (
            {"campaigns": [{"name": "a", "first_day": "2024-02-01", "num_days": 1}] * 2},
            "campaigns with different names",
        ),
        ({"truth": {"num_futures": 5}}, "greater than or equal to 10"),
        ({"defects": {"wrong_tipe": 1}}, "Extra inputs"),
        ({"files": "week"}, "'month' or 'day'"),
    ],
)
def test_a_bad_knob_is_refused(knobs: dict[str, object], words: str):
    with pytest.raises(ValidationError, match=words):
        WorldConfig.model_validate({"first_day": date(2024, 1, 1), **knobs})


def test_a_misspelled_knob_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]):
    assert run_job("world", ["--config", str(WORLD_YAML), "--set", "world.purchases.shap=2"]) == 2
    assert "world.purchases.shap: unknown key. Did you mean shape?" in capsys.readouterr().err


def test_every_defect_of_the_catalogue_has_a_knob_and_is_off_by_default():
    assert set(DefectKnobs.model_fields) == set(DEFECTS)
    assert set(DefectKnobs().model_dump().values()) == {0}


def test_the_worlds_yaml_keeps_heavy_and_fatal_defects_off():
    world = load_config(WORLD_YAML, environment={}).world
    assert world is not None and world.defects.truncated_file == 0 and world.defects.huge_string == 0
    assert sum(number > 0 for number in world.defects.model_dump().values()) >= 30


def test_a_shop_without_a_world_keeps_its_fingerprint():
    without = load_config(JOURNEY, environment={})
    with_one = without.model_copy(update={"world": WorldConfig(first_day=date(2017, 1, 1))})
    dumped = without.model_dump()
    assert dumped.pop("world") is None
    assert config_fingerprint(without) != config_fingerprint(with_one)
    assert config_fingerprint(with_one.model_copy(update={"world": None})) == config_fingerprint(without)


def test_a_shop_without_a_world_makes_none():
    with pytest.raises(ConfigError, match="the configuration has no world to make: complete_journey"):
        plan_of(load_config(JOURNEY, environment={}))


def test_the_world_must_begin_before_the_first_as_of_date():
    with pytest.raises(ConfigError, match="the world begins after an as-of date: 2024-06-30 is after"):
        world_plan(first_day=date(2024, 6, 30), campaigns=[])


def test_a_campaign_must_lie_in_the_world():
    with pytest.raises(ConfigError, match="a campaign begins before the world: early"):
        world_plan(campaigns=[{"name": "early", "first_day": date(2023, 12, 31), "num_days": 3}])


def test_a_currency_whose_minor_unit_is_worth_more_than_the_shops_is_refused():
    with pytest.raises(ConfigError, match=r"minor unit of a currency is worth too much: GBP, 1\.17"):
        world_plan(currencies=[{"code": "GBP", "share": 0.1, "rate": 1.17, "minor_unit_digits": 2}])


def test_only_metrics_the_world_can_simulate_are_taken():
    config = world_config()
    levels = config.levels.model_copy(update={"metric": "num_orders"})
    with pytest.raises(ConfigError, match="the world knows levels by spend over trailing days only"):
        plan_of(config.model_copy(update={"levels": levels}))


def test_clock_changes_are_found_in_the_shops_zone():
    plan = world_plan()
    assert str(clock_change(plan, gap=True)) == "2024-03-31 02:15:00"
    assert str(clock_change(plan, gap=False)) == "2024-10-27 02:15:00"


def test_a_zone_without_clock_changes_has_no_such_defect():
    config = world_config()
    timeline = config.timeline.model_copy(update={"business_zone": "Asia/Tokyo"})
    with pytest.raises(ConfigError, match="no clock changes in the world's days: Asia/Tokyo"):
        clock_change(plan_of(config.model_copy(update={"timeline": timeline})), gap=True)


def test_a_world_too_small_for_its_defects_says_so():
    with pytest.raises(ConfigError, match="too few good lines to spoil: refund_beyond_purchase, 20 members"):
        defect_lines(world_plan(num_members=20, defects={"refund_beyond_purchase": 900}))


def test_no_two_defects_are_made_from_one_good_line():
    names = ["same_id_other_payload", "member_nfd", "member_full_width", "member_with_nul", "member_trailing_space"]
    rows = defect_lines(world_plan(defects=dict.fromkeys(names, 3)))
    lines = {tuple(line.split(",")[:2]) for *_, line in rows}
    assert len(rows) == len(lines) == 15


def test_the_job_explains_itself_and_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        run_job("world", ["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "truth_levels" in shown and "section world" in shown
    assert run_job("world", ["--config", str(JOURNEY), "--print-config"]) == 0
    assert "world: null" in capsys.readouterr().out
