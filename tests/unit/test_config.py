"""Layers, validation and messages of the configuration."""

from pathlib import Path

import pytest

from memberlevel_spark.config import config_fingerprint, load_config, masked_yaml, training_fingerprint
from memberlevel_spark.errors import ConfigError
from tests.small_shop import write_small_shop

CONF = Path(__file__).parents[2] / "conf"
JOURNEY = CONF / "complete_journey.yaml"
ALLOWED = "features.allow_protected=true"


def test_the_shops_own_file_wins_over_base_and_set_over_the_file_and_the_environment_over_all():
    config = load_config(JOURNEY, ["levels.window_days=60", "seed=8"], {"MEMBERLEVEL__SEED": "9", "OTHER": "x"})
    assert (config.levels.window_days, config.seed, config.timeline.horizon_days) == (60, 9, 28)


def test_a_spark_setting_is_one_key_although_it_has_dots():
    config = load_config(JOURNEY, ["spark.conf.spark.sql.shuffle.partitions=5", "spark.conf.spark.x=true"])
    assert config.spark.conf["spark.x"] == "true"
    assert config.spark.conf["spark.sql.shuffle.partitions"] == "5"
    assert config.spark.conf["spark.driver.memory"] == "3g"


def test_the_name_is_the_files_and_names_the_output_folder():
    assert load_config(JOURNEY).shop_dir == Path("out/complete_journey")


def test_all_problems_are_reported_at_once_with_place_key_found_and_expected():
    bad = ["training.max_epoch=3", "levels.window_days=x", "money.currency=usd", "timeline.business_zone=Mars"]
    with pytest.raises(ConfigError) as error:
        load_config(JOURNEY, bad)
    text = str(error.value)
    assert "has 4 problem(s)" in text
    assert "--set: training.max_epoch: unknown key. Did you mean max_epochs?" in text
    assert "--set: levels.window_days: found 'x', expected:" in text
    assert "--set: money.currency: found 'usd', expected:" in text
    assert "--set: timeline.business_zone: found 'Mars', expected: an IANA time zone" in text


def test_a_missing_section_says_where_to_read_about_it(tmp_path: Path):
    (tmp_path / "base.yaml").write_text((CONF / "base.yaml").read_text())
    (tmp_path / "shop.yaml").write_text("money: {currency: EUR, minor_unit_digits: 2}\n")
    with pytest.raises(ConfigError, match=r"levels: missing. Set it; conf/base.yaml says what it means"):
        load_config(tmp_path / "shop.yaml")


def test_a_missing_file_names_the_files_that_are_there():
    with pytest.raises(ConfigError, match=r"no configuration file: .*nowhere.yaml. Use one of: base.yaml, complete"):
        load_config(CONF / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("seed: 1\nseed: 2\n", "key given twice: seed"),
        ("- 1\n", "must hold keys and values"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "base.yaml").write_text((CONF / "base.yaml").read_text())
    (tmp_path / "shop.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "shop.yaml")


def test_an_override_without_equals_sign_is_refused():
    with pytest.raises(ConfigError, match="--set needs key=value: seed"):
        load_config(JOURNEY, ["seed"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("levels.programme=[{name: a, at_least: 0}, {name: b, at_least: 0}]", "start at 0 and strictly increase"),
        ("levels.programme=[{name: a, at_least: 5}, {name: b, at_least: 9}]", "start at 0 and strictly increase"),
        ("timeline.validation=2017-12-24", "train.last before validation before test"),
        ("timeline.score=[2018-01-07]", "score dates on or before data_through"),
        ("timeline.train={first: 2017-10-09, last: 2017-10-08, every_days: 7}", "train.first on or before train.last"),
        ("timeline.inactive_days=27", r"inactive_days of at least horizon_days \(28\)"),
        ("training.num_processes=3", r"lanes a multiple of num_processes \(3\), such as 6"),
        ("training.batch_rows=1022", r"batch_rows a multiple of lanes \(4\), such as 1024"),
    ],
)
def test_sections_that_contradict_themselves_are_refused(override: str, message: str):
    with pytest.raises(ConfigError, match=message):
        load_config(JOURNEY, [override])


def test_protected_attributes_are_of_the_profiles_and_whatever_goes_by_groups_names_one_of_them():
    chosen = ["evaluation.protected=[age, incom]", "evaluation.call_by=income", "training.reweighing=sex"]
    with pytest.raises(ConfigError) as error:
        load_config(JOURNEY, chosen)
    text = str(error.value)
    assert "has 3 problem(s)" in text
    assert "evaluation.protected: found 'incom', expected: an attribute of the profiles: age, home_ownership," in text
    assert "evaluation.call_by: found 'income', expected: null, or one of evaluation.protected: age, incom" in text
    assert "training.reweighing: found 'sex', expected: null, or one of evaluation.protected" in text
    without = ["sources.demographics.maps=[{to: products, columns: {product_id: a}}]", "evaluation.call_by=age"]
    with pytest.raises(ConfigError, match=r"evaluation\.protected: there is none"):
        load_config(JOURNEY, without)


def test_what_is_protected_is_not_read_unless_it_is_allowed():
    profile = "features.profile={age: category, kids_count: number}"
    read = [
        load_config(JOURNEY, [profile, *more]).profile_read
        for more in ([], ["evaluation.protected=[age, income]"], ["evaluation.protected=[age]", ALLOWED])
    ]
    every = {"age": "category", "kids_count": "number"}
    assert read == [every, {"kids_count": "number"}, every]


def test_a_shop_without_events_is_refused(tmp_path: Path):
    only_products = "sources.{name}.maps=[{{to: products, columns: {{product_id: a}}}}]"
    names = ("transactions", "coupon_redemptions", "demographics")
    with pytest.raises(ConfigError, match="at least one source that maps to events"):
        load_config(JOURNEY, [only_products.format(name=name) for name in names])


def test_secrets_are_never_shown(tmp_path: Path):
    config = load_config(write_small_shop(tmp_path))
    assert "a key for tests" not in masked_yaml(config) + repr(config)
    with pytest.raises(ConfigError) as error:
        load_config(JOURNEY, ["pseudonyms.key=[my very secret key]"])
    assert "my very secret" not in str(error.value)


def test_the_fingerprint_changes_with_what_changes_results_only():
    plain = config_fingerprint(load_config(JOURNEY))
    assert plain == config_fingerprint(
        load_config(
            JOURNEY,
            ["output_dir=elsewhere", "spark.master=local[1]", "training.how=inline", "leakage.sample_members=9"],
        )
    )
    assert plain == config_fingerprint(
        load_config(
            JOURNEY, ["compression.num_timings=9", "training.distillation.share=1", "serving.refresh_seconds=9"]
        )
    )
    assert plain != config_fingerprint(load_config(JOURNEY, ["seed=8"]))


def test_a_member_becomes_inactive_in_twice_the_horizon_unless_told():
    assert load_config(JOURNEY).timeline.inactive.reach_days == 56
    assert load_config(JOURNEY, ["timeline.inactive_days=90", "timeline.gap_days=2"]).timeline.inactive.reach_days == 92


def test_a_day_more_is_another_configuration_of_the_same_training():
    moved_on = load_config(JOURNEY, ["timeline.data_through=2018-01-01", "timeline.score=[2018-01-01]"])
    assert config_fingerprint(moved_on) != config_fingerprint(load_config(JOURNEY))
    assert training_fingerprint(moved_on) == training_fingerprint(load_config(JOURNEY))
    for key in ("seed=8", "timeline.test=2017-12-04", "timeline.horizon_days=27"):
        assert training_fingerprint(load_config(JOURNEY, [key])) != training_fingerprint(moved_on)


def test_split_dates_of_complete_journey():
    timeline = load_config(JOURNEY).timeline
    assert len(timeline.split.train) == 28
    # Late dates are known by the test date and learned from in the end; validation is one of the weeks between.
    assert [str(day) for day in timeline.split.late] == ["2017-10-15", "2017-10-22", "2017-10-29"]
    assert [str(day) for day in timeline.as_of_dates[-4:]] == ["2017-10-29", "2017-11-05", "2017-12-03", "2017-12-31"]
    timeline.split.require_embargo(timeline.label)


def test_without_refit_nothing_is_learned_after_the_last_training_date():
    timeline = load_config(JOURNEY, ["timeline.train.refit=false"]).timeline
    assert timeline.split.late == ()
    assert str(timeline.as_of_dates[-4]) == "2017-10-08"


def test_the_experiments_on_events_are_laid_over_a_shop_in_the_place_of_its_own():
    laid_over = load_config(CONF / "complete_journey.yaml", further=[CONF / "events.yaml"]).experiments.variants
    assert set(laid_over) == {
        "weeks_alone",
        "events_alone",
        "events",
        "events_masked",
        "events_next",
        "events_contrastive",
        "events_frozen",
        "fusion",
    }
    assert laid_over["events_frozen"].frozen and laid_over["weeks_alone"].reads == ("weeks",)


WEBHOOK = "MEMBERLEVEL__MONITORING__WEBHOOK_URL"


def test_thresholds_are_overridden_one_by_one_and_change_no_model():
    config = load_config(
        JOURNEY, ["monitoring.thresholds.feature_psi.alert=0.5"], {WEBHOOK: "https://x.example/secret"}
    )
    assert config.monitoring.thresholds["feature_psi"].warn == 0.1
    assert config.monitoring.thresholds["feature_psi"].alert == 0.5
    judging = load_config(JOURNEY, ["monitoring.judge_calendar=true"])
    assert (judging.monitoring.judge_calendar, config.monitoring.judge_calendar) == (True, False)
    assert config_fingerprint(judging) == config_fingerprint(config)
    assert config_fingerprint(config) == config_fingerprint(load_config(JOURNEY))
    assert "secret" not in masked_yaml(config) and "webhook_url: '**********'" in masked_yaml(config)


def test_a_threshold_that_alerts_before_it_warns_or_of_an_unknown_metric_is_refused():
    with pytest.raises(ConfigError, match=r"feature_psi: expected: warn of at most alert \(0\.05\)"):
        load_config(JOURNEY, ["monitoring.thresholds.feature_psi.alert=0.05"])
    with pytest.raises(ConfigError, match="feature_pis"):
        load_config(JOURNEY, ["monitoring.thresholds.feature_pis={warn: 1, alert: 2}"])


@pytest.mark.parametrize("address", ["ftp://x.example/secret", "secret", "http://", "https://[secret"])
def test_what_is_no_web_address_is_refused_without_being_shown(address: str):
    with pytest.raises(ConfigError, match="webhook_url: found a secret, expected: an address that begins") as error:
        load_config(JOURNEY, [], {WEBHOOK: address})
    assert "//" not in str(error.value).replace("https:// or http://", "")
