"""The declared space of a tuning: what it may hold, and how it says what is wrong."""

from pathlib import Path

import pytest

from memberlevel_spark import cli
from memberlevel_spark.config import config_fingerprint, load_config
from memberlevel_spark.config.tuning import Dimension, space_misfits
from memberlevel_spark.errors import ConfigError

JOURNEY = Path(__file__).parents[2] / "conf" / "complete_journey.yaml"


def test_the_demo_shop_declares_a_space():
    space = load_config(JOURNEY).tuning.space
    assert space["training.learning_rate"] == Dimension(low=0.0005, high=0.02, log=True)
    assert space["model.hidden"].choices[2] == [64, 64]


def test_all_problems_of_a_space_are_told_at_once_with_their_keys():
    space = (
        "{training.lerning_rate: {low: 0.1, high: 0.2}, training.l1: {low: 0.5, high: 0.1},"
        " model.level_head: {choices: [gate, gates, rule]}}"
    )
    with pytest.raises(ConfigError) as error:
        load_config(JOURNEY, [f"tuning.space={space}"])
    text = str(error.value)
    assert "has 4 problem(s)" in text
    assert (
        "--set: tuning.space.training.lerning_rate: expected: a key of model or training that a network depends on;"
        " nearest: training.learning_rate."
    ) in text
    assert "--set: tuning.space.training.l1: expected: low (0.5) below high (0.1)." in text
    assert "values that model.level_head may have, and 'gates' is not one: Input should be 'rules', 'gate'" in text
    assert "values that model.level_head may have, and 'rule' is not one" in text


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ("learning_rate: {low: 0.1, high: 0.2}", "nearest: training.learning_rate"),
        ("training.how: {choices: [inline, spark]}", "a key of model or training that a network depends on"),
        ("training.l1: {lo: 0, high: 1}", r"unknown key. Did you mean low\?"),
        ("training.l1: {low: 0}", "low and high, or choices"),
        ("training.l1: {choices: [0.0]}", "at least two choices and nothing else"),
        ("training.l1: {choices: [0.0, 0.1], low: 0}", "at least two choices and nothing else"),
        ("training.schedule: {low: 0, high: 1}", "choices, since this key holds no number"),
        ("training.l1: {low: 0.1, high: 0.1}", r"low \(0.1\) below high \(0.1\)"),
        ("training.l1: {low: 0, high: 1, log: true}", "low above 0 and no step, with log"),
        ("training.max_epochs: {low: 2, high: 8, log: true, step: 2}", "low above 0 and no step, with log"),
        ("training.l1: {low: 0, high: 1, step: 1}", "no step, since this key holds fractions"),
        ("training.max_epochs: {low: 1.5, high: 8}", r"whole numbers, and high a multiple of step \(1\) above low"),
        ("training.max_epochs: {low: 2, high: 9, step: 2}", r"a multiple of step \(2\) above low"),
        ("training.grad_clip: {low: 0, high: 2}", "and 0.0 is not one: Input should be greater than 0"),
    ],
)
def test_a_dimension_that_cannot_be_searched_is_refused(dimension: str, message: str):
    with pytest.raises(ConfigError, match=message) as error:
        load_config(JOURNEY, [f"tuning.space={{{dimension}}}"])
    assert "has 1 problem(s)" in str(error.value)


@pytest.mark.parametrize(
    "dimension",
    [
        "training.max_epochs: {low: 2, high: 8, step: 2}",
        "training.max_epochs: {low: 1, high: 64, log: true}",
        "training.task_weights: {choices: [null, {orders: 0.1, spend: 0.3}]}",
        "training.l1: {choices: [0, 1e-5]}",
        "training.compile: {choices: [true, false]}",
    ],
)
def test_numbers_lists_sections_and_null_can_be_searched(dimension: str):
    key = dimension.partition(":")[0]
    assert key in load_config(JOURNEY, [f"tuning.space={{{dimension}}}"]).tuning.space


@pytest.mark.parametrize(
    ("dimension", "misfit"),
    [
        (
            "training.lanes: {low: 2, high: 8}",
            "training.lanes=3 needs lanes a multiple of num_processes (2), such as 4",
        ),
        ("training.max_epochs: {low: 2, high: 6}", "training.max_epochs leaves out the configured 8"),
        ("training.max_epochs: {low: 3, high: 13, step: 2}", "training.max_epochs leaves out the configured 8"),
        ("training.schedule: {choices: [linear, exponential]}", "training.schedule leaves out the configured 'cosine'"),
    ],
)
def test_what_fits_no_other_setting_hinders_tuning_only(dimension: str, misfit: str):
    config = load_config(JOURNEY, [f"tuning.space={{{dimension}}}"])
    assert space_misfits(config.tuning.space, {"model": config.model, "training": config.training}) == [misfit]


def test_the_demo_shops_space_fits_its_settings():
    config = load_config(JOURNEY)
    assert space_misfits(config.tuning.space, {"model": config.model, "training": config.training}) == []


def test_what_is_tuned_changes_no_fingerprint():
    tuned = load_config(JOURNEY, ["tuning.num_trials=3", "tuning.space={training.l1: {low: 0, high: 1}}"])
    assert config_fingerprint(tuned) == config_fingerprint(load_config(JOURNEY))


def test_further_files_are_laid_over_the_shops_own_and_set_over_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    best = tmp_path / "best.yaml"
    best.write_text("training: {learning_rate: 0.011, weight_decay: 0.5}\nmodel: {hidden: [64]}\n")
    config = load_config(JOURNEY, ["training.weight_decay=0.25"], further=[best])
    assert (config.name, config.model.hidden, config.model.name) == ("complete_journey", (64,), "cnn")
    assert (config.training.learning_rate, config.training.weight_decay) == (0.011, 0.25)
    assert cli.run_job("train", ["--config", str(JOURNEY), "--config", str(best), "--print-config"]) == 0
    assert "learning_rate: 0.011" in capsys.readouterr().out
    best.write_text("training: {lerning_rate: 0.01}\n")
    with pytest.raises(ConfigError, match=r"best\.yaml: training\.lerning_rate: unknown key"):
        load_config(JOURNEY, further=[best])
