"""The stage monitor on the small shop: drift, health, alerts, the file for Prometheus, and who is told."""

import json
import logging
from datetime import date
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pyspark.sql import DataFrame, SparkSession

from memberlevel_spark.cli import run_job
from memberlevel_spark.config.monitoring import WatchedMetric
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.profile import Profile
from tests.unit.test_prometheus import DASHBOARD, asked_metrics

pytestmark = pytest.mark.spark

DATES = {date(2024, 9, 28), date(2024, 10, 26)}
EVERY_FEATURE = "monitoring.thresholds.feature_psi={warn: -1, alert: -1}"


def table(spark: SparkSession, shop: Path, name: str) -> DataFrame:
    return spark.read.format("delta").load(str(shop / "tables" / name))


def bundle_dir(shop: Path) -> Path:
    return shop / "registry" / json.loads((shop / "registry" / "champion.json").read_text())["model_version"]


def test_every_number_the_model_reads_and_every_table_is_watched_on_every_scored_date(spark: SparkSession, shop: Path):
    rows = table(spark, shop, "monitor_metrics").collect()
    assert {row["as_of_date"] for row in rows} == DATES
    by_metric = {(row["metric"], row["as_of_date"]): set() for row in rows}
    for row in rows:
        by_metric[row["metric"], row["as_of_date"]].add(row["slice"])
    encoder = Encoder.from_json((bundle_dir(shop) / "encoder.json").read_text())
    for day in DATES:
        assert {metric for metric, of_day in by_metric if of_day == day} - {"members_now", "members_expected"} == set(
            get_args(WatchedMetric)
        )
        assert by_metric["feature_psi", day] == set(encoder.names)
        assert by_metric["feature_new_category_share", day] == {"profile_city"}
        assert by_metric["stale_days", day] == {"events/orders", "events/visits", "member_days", "member_levels"}
        assert {"events", "member_levels", "member_scores"} <= by_metric["schema_differences", day]
    differing = [row["slice"] for row in rows if row["metric"] == "schema_differences" and row["value"]]
    assert differing == []
    watched = {row["slice"] for row in rows if row["metric"] == "schema_differences"}
    assert not watched & {"examples", "outcomes", "alerts"}
    # So few rows a day say nothing of the volume, and what cannot be told is null.
    assert {row["value"] for row in rows if row["metric"] == "volume_drop"} == {None}
    assert {row["level"] for row in rows if row["value"] is None} == {"unknown"}


def test_the_profile_of_the_training_rows_is_of_them_and_as_wide_as_what_the_model_reads(
    spark: SparkSession, shop: Path
):
    profile = Profile.from_json((bundle_dir(shop) / "profile.json").read_text())
    assert profile.num_rows == table(spark, shop, "examples").where("split = 'train'").count()
    assert {sum(rows) for rows in profile.bins.values()} == {profile.num_rows}
    scored = Profile.from_json((bundle_dir(shop) / "score_profile.json").read_text())
    tested = table(spark, shop, "member_scores").where("as_of_date = '2024-09-28'").count()
    assert scored.num_rows == tested
    # The test date is scored too, by the same model: the scores are those the profile was made of.
    distances = table(spark, shop, "monitor_metrics").where("metric = 'score_ks' and as_of_date = '2024-09-28'")
    assert {round(row["value"], 6) for row in distances.collect()} == {0.0}


def test_alerts_are_the_watched_values_above_a_threshold_with_what_they_passed(spark: SparkSession, shop: Path):
    above = table(spark, shop, "monitor_metrics").where("level in ('warn', 'alert')")
    key = ["metric", "as_of_date", "model_version", "level", "value"]
    alerts = table(spark, shop, "alerts").withColumnRenamed("subject", "slice")
    assert sorted(map(tuple, alerts.select("slice", *key).collect())) == sorted(
        map(tuple, above.select("slice", *key).collect())
    )
    assert alerts.where("value <= threshold").count() == 0 and alerts.count() > 0


def test_features_that_move_with_the_calendar_are_measured_and_not_judged_and_chance_is_allowed_for(
    spark: SparkSession, shop: Path
):
    rows = table(spark, shop, "monitor_metrics").where("metric rlike '_(psi|ks|js|wasserstein)$'").collect()
    unjudged = {row["slice"] for row in rows if row["warn_above"] is None}
    assert unjudged == {
        *("tenure_days", "days_in_level", "num_level_ups", "num_level_downs", "best_level"),
        *("num_orders_days_since_first", "as_of_date_days_to_holiday"),
    }
    of_them = [row for row in rows if row["slice"] in unjudged]
    assert {(row["level"], row["alert_above"]) for row in of_them if row["value"] is not None} == {("ok", None)}
    assert max(row["value"] or 0 for row in of_them if row["metric"] == "feature_psi") > 0.2
    assert min(row["warn_above"] for row in rows if row["slice"] not in unjudged and row["value"] is not None) > 0.1
    nulls = table(spark, shop, "monitor_metrics").where("metric = 'feature_null_share' and slice = 'tenure_days'")
    assert {row["alert_above"] for row in nulls.collect()} == {0.2}


def test_the_dashboard_asks_for_nothing_that_a_run_does_not_write(shop: Path):
    text = (shop / "monitoring" / "metrics.prom").read_text(encoding="utf-8")
    found = {family.name: family.samples for family in text_string_to_metric_families(text)}
    assert asked_metrics(json.loads(DASHBOARD.read_text(encoding="utf-8"))) == set(found)
    undefined = {"memberlevel_volume_drop", "memberlevel_volume_rise"}
    assert {name for name, samples in found.items() if not samples} == undefined
    assert {sample.labels["shop"] for samples in found.values() for sample in samples} == {"small_shop"}
    members = {sample.labels["level"]: sample.value for sample in found["memberlevel_members_now"]}
    assert set(members) <= {"base", "silver", "gold"} and sum(members.values()) == 150
    assert sum(sample.value for sample in found["memberlevel_members_expected"]) == pytest.approx(150)


def test_the_report_tells_of_drift_alerts_changes_and_time_on_a_level(shop: Path):
    html = (shop / "report.html").read_text(encoding="utf-8")
    assert "Drift of the scores, the furthest first" in html and "Kolmogorov-Smirnov" in html
    assert "The last scored date before 26\u00a0Oct\u00a02024 is 28\u00a0Sep\u00a02024." in html
    assert "Survival curves of levels: base" in html and len(html.encode()) < 3_000_000


def test_a_job_that_is_asked_to_fails_on_alerts_when_all_is_written_and_a_deaf_webhook_is_a_warning(
    spark: SparkSession,
    shop: Path,
    small_shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
):
    given = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}", "--as-of", "2024-10-26"]
    monkeypatch.setenv("MEMBERLEVEL__MONITORING__WEBHOOK_URL", "http://127.0.0.1:1/a-secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    try:
        with caplog.at_level(logging.WARNING, "memberlevel_spark"):
            assert run_job("monitor", [*given, "--set", EVERY_FEATURE, "--fail-on-alert"]) == 6
        told = capsys.readouterr().err
        assert "the monitoring raised" in told and "alert(s): feature_" in told and "Traceback" not in told
        assert "alert feature_psi of " in caplog.text and "the webhook was not told of the alerts" in caplog.text
        assert "a-secret" not in caplog.text + told
        alerts = table(spark, shop, "alerts").where("level = 'alert' and metric = 'feature_psi'")
        assert alerts.where("as_of_date = '2024-10-26'").count() > 50
    finally:
        monkeypatch.delenv("MEMBERLEVEL__MONITORING__WEBHOOK_URL")
        assert run_job("monitor", given) == 0
