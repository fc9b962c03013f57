"""The whole pipeline on the small shop: results, accounting, idempotence, and the same tables under another layout."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.cli import run_job
from memberlevel_spark.features.meanings import AGGREGATES
from memberlevel_spark.registry.bundle import load_bundle, publish, read_alias
from tests.small_shop import BROKEN, NUM_MEMBERS

pytestmark = pytest.mark.e2e

TABLES = (
    "bronze_orders",
    "events",
    "members",
    "quarantine",
    "late_events",
    "quality_results",
    "member_days",
    "member_levels",
    "member_features",
    "member_sequences",
    "member_event_sequences",
    "member_labels",
    "examples",
    "member_scores",
    "current_scores",
    "member_reasons",
    "member_advice",
    "monitor_metrics",
    "alerts",
    "outcomes",
    "migrations",
)
LEVEL_METRICS = {
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "qwk",
    "log_loss",
    "upgrade_auc",
    "upgrade_ap",
    "ece",
    *("downgrade_auc", "downgrade_ap"),
    *(f"{move}_lift_{percentage}" for move in ("upgrade", "downgrade") for percentage in (1, 5, 10)),
}
OUTCOME_METRICS = {
    "churn_auc",
    "churn_ap",
    "churn_brier",
    "churn_ece",
    *(f"churn_lift_{percentage}" for percentage in (1, 5, 10)),
    "orders_mae",
    "orders_deviance",
    "spend_mae",
    "spend_spearman",
    "spend_gini",
    "spend_decile_error",
    *(f"spend_top_{percentage}" for percentage in (1, 5, 10, 20)),
}
SECRET, RAW_MEMBER = "a key for tests only", "cx011"


def table(spark: SparkSession, shop: Path, name: str) -> DataFrame:
    return spark.read.format("delta").load(str(shop / "tables" / name))


def content_hash(frame: DataFrame) -> str:
    rows = sorted(frame.select(F.to_json(F.struct("*"))).toPandas().iloc[:, 0])
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def test_every_member_is_scored_on_every_asked_date_the_silent_ones_too(spark: SparkSession, shop: Path):
    scores = table(spark, shop, "member_scores")
    assert {row["as_of_date"].isoformat(): row["count"] for row in scores.groupBy("as_of_date").count().collect()} == {
        "2024-09-28": NUM_MEMBERS,
        "2024-10-26": NUM_MEMBERS,
    }
    assert scores.select("member_id").distinct().count() == NUM_MEMBERS


def test_the_parts_of_a_score_agree_with_each_other(spark: SparkSession, shop: Path):
    total = F.aggregate("p_level", F.lit(0.0), lambda a, b: a + b)
    p_now = F.get("p_level", F.col("level_now"))
    row = (
        table(spark, shop, "member_scores")
        .agg(
            F.max(F.abs(total - 1)),
            F.max(F.abs(F.col("p_up") + F.col("p_down") + p_now - 1)),
            F.min(F.least("p_up", "p_down")),
            F.max(F.greatest("p_up", "p_down")),
            F.max(F.when(F.col("level_now") == 2, F.col("p_up")).otherwise(0.0)),
        )
        .first()
    )
    assert row is not None
    assert row[0] < 1e-9 and row[1] < 1e-9 and row[2] >= 0 and row[3] <= 1 and row[4] == 0


def test_orders_and_spend_of_a_score_agree_with_each_other(spark: SparkSession, shop: Path):
    scores = table(spark, shop, "member_scores")
    wrong = {
        "churn and buying": F.abs(F.col("p_churn") + F.col("p_buy") - 1) > 1e-12,
        "a share": (F.col("p_buy") < 0) | (F.col("p_buy") > 1),
        "orders": F.col("expected_orders") < F.col("p_buy") * (1 - 1e-6),
        "spend": F.col("expected_spend_cents") < 0,
        "interval": (F.col("spend_cents_low") > F.col("spend_cents_median"))
        | (F.col("spend_cents_median") > F.col("spend_cents_high")),
        "spend without orders": (F.col("p_churn") > 0.5 + 1e-6) & (F.col("spend_cents_median") > 0),
    }
    for name, condition in wrong.items():
        assert scores.where(condition).isEmpty(), name


def test_every_rejected_row_is_in_quarantine_with_its_reason(spark: SparkSession, shop: Path):
    rules = table(spark, shop, "quarantine").groupBy("rule").count().collect()
    assert {row["rule"]: row["count"] for row in rules} == BROKEN


def test_every_stage_accounts_for_its_rows(shop: Path):
    records = [json.loads(path.read_text()) for path in (shop / "runs" / "stages").glob("*.json")]
    assert len([record for record in records if record["number"]]) == 15  # a tool beside the flow has no number
    for record in records:
        parts = ("rows_out", "quarantined", "duplicates", "filtered", "late", "aggregated")
        assert record["rows_in"] == sum(record[part] for part in parts), record["stage"]


def test_metrics_hold_the_model_and_its_baselines(shop: Path):
    metrics = json.loads((shop / "metrics.json").read_text())
    assert (metrics["test_as_of"], metrics["num_members"]) == ("2024-09-28", NUM_MEMBERS)
    rivals = ["boosted_tree", "logistic", "run_rate", "persistence", "majority", "bg_nbd"]
    assert list(metrics["test"]) == ["model", *rivals]
    assert set(metrics["test"].pop("bg_nbd")) == OUTCOME_METRICS
    for name, values in metrics["test"].items():
        assert set(values) >= LEVEL_METRICS, name
    assert set(metrics["test"]["boosted_tree"]) == LEVEL_METRICS
    assert set(metrics["test"]["run_rate"]) == LEVEL_METRICS | OUTCOME_METRICS
    assert set(metrics["test"]["model"]) == LEVEL_METRICS | OUTCOME_METRICS | {"spend_coverage_80"}


def test_the_evaluation_speaks_of_parts_of_the_members_and_of_lists(spark: SparkSession, shop: Path):
    (path,) = (shop / "runs").glob("train-*/evaluation.json")
    evaluation = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    rows: dict[str, dict[str, int]] = {}
    for row in evaluation["slices"]:
        rows.setdefault(row["dimension"], {})[row["slice"]] = row["members"]
    assert list(rows) == ["level now", "tenure", "orders in 91 days", "city", "age"]
    assert all(sum(counts.values()) == NUM_MEMBERS for counts in rows.values())
    features = table(spark, shop, "member_features").where("as_of_date = '2024-09-28'")
    by_city = {row[0]: row[1] for row in features.groupBy("profile_city").count().collect()}
    cities = json.loads((shop / "runs" / "features" / "vocabulary.json").read_text())["entries"]["profile_city"]
    assert rows["city"] == {city: by_city[place] for place, city in enumerate(cities, start=2)}
    silent = features.where("num_orders_sum_91d = 0").count()
    assert rows["orders in 91 days"]["none"] == silent
    told = {(row["event"], row["forecaster"]) for row in evaluation["gains"]}
    assert {("churn", "bg_nbd"), ("spend", "run_rate"), ("upgrade", "boosted_tree"), ("downgrade", "model")} <= told
    assert sum(tenth["members"] for tenth in evaluation["spend_tenths"]) == NUM_MEMBERS
    assert sum(point["count"] for point in evaluation["reliability"] if point["event"] == "churns") == NUM_MEMBERS


def test_the_report_tells_what_is_expected_of_members(spark: SparkSession, shop: Path):
    scores = table(spark, shop, "member_scores").where("as_of_date = '2024-10-26'")
    row = scores.agg(F.sum("p_churn"), F.sum("expected_orders"), F.sum("expected_spend_cents")).first()
    assert row is not None
    html = (shop / "report.html").read_text()
    cells = [f"{row[0]:,.0f}", f"{row[1]:,.0f}", f"{round(row[2] / 100):,}\u00a0EUR"]
    assert all(f'<td class="number">{cell}</td>' in html for cell in cells)


def test_the_bundle_has_its_calibrators(shop: Path):
    version = json.loads((shop / "registry" / "champion.json").read_text())["model_version"]
    # The shop has fewer members than a calibrator is fitted to.
    kept = (shop / "registry" / version / "calibrators.json").read_text()
    assert json.loads(kept) == {"p_buy": None, "spend_cents": None, "temperature": 1.0}


def test_the_run_rate_in_the_metrics_is_what_the_tables_say(spark: SparkSession, shop: Path):
    """Decoded from encoded features, it is the features themselves: orders of 91 days, a third of it ahead."""
    day = "as_of_date = '2024-09-28'"
    features, labels = (table(spark, shop, name).where(day) for name in ("member_features", "member_labels"))
    known = F.least(F.col("tenure_days") + 1, F.lit(91))
    rate = features.select("member_id", (F.col("num_orders_sum_91d") / known * 28).alias("ahead"))
    row = labels.join(rate, "member_id").agg(F.avg(F.abs(F.col("num_orders") - F.col("ahead")))).first()
    metrics = json.loads((shop / "metrics.json").read_text())
    assert row is not None
    assert metrics["test"]["run_rate"]["orders_mae"] == pytest.approx(row[0], rel=0.02)


def test_persistence_in_the_metrics_is_the_share_that_stayed(spark: SparkSession, shop: Path):
    labels = table(spark, shop, "member_labels").where("as_of_date = '2024-09-28'")
    row = labels.agg(F.avg((F.col("level_now") == F.col("target_level")).cast("double"))).first()
    metrics = json.loads((shop / "metrics.json").read_text())
    assert row is not None and metrics["test"]["persistence"]["accuracy"] == pytest.approx(row[0], abs=1e-12)


def test_what_came_true_of_the_test_date_is_what_the_evaluation_said_of_it(spark: SparkSession, shop: Path):
    """Two ways to one number: the examples and their labels, the ledger and the days."""
    (path,) = (shop / "runs").glob("train-*/evaluation.json")
    evaluation = json.loads(path.read_text())
    rows = table(spark, shop, "outcomes").collect()
    version = json.loads((shop / "registry" / "champion.json").read_text())["model_version"]
    assert {(row["as_of_date"].isoformat(), row["model_version"]) for row in rows} == {("2024-09-28", version)}
    judged: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        part = judged.setdefault((row["dimension"], row["slice"]), {"members": row["members"]})
        part[row["metric"]] = row["value"]
    whole, model = judged["all", "all"], evaluation["test"]["model"]
    shared = [name for name in whole if name in model]
    assert len(shared) == 9 and {name: whole[name] for name in shared} == pytest.approx(
        {name: model[name] for name in shared}, rel=1e-4
    )
    # Protected groups are judged by the evaluation alone.
    slices = [row for row in evaluation["slices"] if row["dimension"] != "age"]
    assert whole["persistence_accuracy"] == pytest.approx(evaluation["test"]["persistence"]["accuracy"])
    assert {key for key in judged if key[0] != "all" and "tenth" not in key[0]} == {
        (row["dimension"], row["slice"]) for row in slices
    }
    for row in slices:
        found = judged[row["dimension"], row["slice"]]
        for name in ("members", "accuracy", "log_loss", "churn_brier", "persistence_accuracy"):
            told = None if row[name] is None else pytest.approx(row[name], rel=1e-4)
            assert found[name] == told, (row["dimension"], row["slice"], name)
    tenths = [judged["tenth of expected_spend", f"{place:02d}"] for place in range(1, 11)]
    for tenth, found in zip(evaluation["spend_tenths"], tenths, strict=True):
        assert found["realised_spend"] == pytest.approx(tenth["realised"], rel=1e-4, abs=0.01)


def test_expected_and_realised_moves_of_the_test_date_account_for_every_member(spark: SparkSession, shop: Path):
    moves = table(spark, shop, "migrations")
    labels = table(spark, shop, "member_labels").where("as_of_date = '2024-09-28'")
    made = {(row[0], row[1]): row[2] for row in labels.groupBy("level_now", "target_level").count().collect()}
    assert {(row["level_from"], row["level_to"]): row["members_realised"] for row in moves.collect()} == {
        (now, then): made.get((now, then), 0) for now in range(3) for then in range(3)
    }
    expected = moves.groupBy("level_from").agg(F.sum("members_expected"), F.sum("members_realised")).collect()
    assert all(row[1] == pytest.approx(row[2], abs=1e-6) for row in expected)
    assert moves.agg(F.sum("spend_cents")).collect()[0][0] == labels.agg(F.sum("spend_cents")).collect()[0][0]
    fallen = labels.where("moved_down").select("member_id")
    days = table(spark, shop, "member_days").where("day > '2024-08-31' and day <= '2024-09-28'")
    at_risk = days.join(fallen, "member_id").agg(F.coalesce(F.sum("spend_cents"), F.lit(0))).collect()[0][0]
    assert moves.agg(F.sum("at_risk_cents")).collect()[0][0] == at_risk
    html = (shop / "report.html").read_text()
    assert "Did it come true?" in html and "Heat map of realised moves" in html and "28\u00a0Sep\u00a02024" in html


def test_raw_identifiers_and_the_key_leave_ingest_nowhere(spark: SparkSession, shop: Path):
    for name in TABLES:
        frame = table(spark, shop, name)
        if name.startswith("bronze"):
            continue
        assert frame.where(F.to_json(F.struct("*")).contains(RAW_MEMBER)).isEmpty(), name
    files = [path for path in shop.rglob("*") if path.is_file() and "tables" not in path.parts]
    assert files
    for path in files:
        content = path.read_bytes()
        assert SECRET.encode() not in content and RAW_MEMBER.encode() not in content, path


def test_a_day_more_of_data_needs_no_other_model_to_report_on(shop: Path, small_shop: Path):
    before = (shop / "report.html").read_text()
    arguments = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}", "--as-of", "2024-10-26"]
    try:
        assert run_job("report", [*arguments, "--set", "timeline.data_through=2024-10-27"]) == 0
        assert "Did it come true?" in (shop / "report.html").read_text()
    finally:
        (shop / "report.html").write_text(before)


def test_the_report_is_one_offline_file(shop: Path):
    html = (shop / "report.html").read_text()
    assert "A small shop" in html and "<svg" in html and "src=" not in html


@pytest.fixture
def other_layout(spark: SparkSession) -> Iterator[None]:
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "5")
    yield
    spark.conf.set("spark.sql.shuffle.partitions", str(before))


def test_a_second_run_with_other_shuffle_partitions_gives_the_same_tables(
    spark: SparkSession, shop: Path, small_shop: Path, other_layout: None
):
    before = {name: content_hash(table(spark, shop, name)) for name in TABLES}
    report = (shop / "metrics.json").read_bytes()
    assert run_job("pipeline", ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]) == 0
    assert {name: content_hash(table(spark, shop, name)) for name in TABLES} == before
    assert (shop / "metrics.json").read_bytes() == report
    assert len([path for path in (shop / "registry").iterdir() if path.is_dir()]) == 1


def test_one_date_alone_rewrites_only_its_slice(spark: SparkSession, shop: Path, small_shop: Path):
    arguments = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}", "--as-of", "2024-10-26"]
    before = {name: content_hash(table(spark, shop, name)) for name in ("member_features", "member_scores")}
    for stage in ("features", "score", "monitor"):
        assert run_job(stage, arguments) == 0
    for day in ("2024-05-04", "2024-08-31"):
        assert run_job("features", [*arguments[:-1], day]) == 0
    assert {name: content_hash(table(spark, shop, name)) for name in before} == before


def test_the_features_of_the_yaml_are_in_the_table_and_in_its_catalogue(spark: SparkSession, shop: Path):
    page = (shop / "runs" / "features" / "catalogue.md").read_text(encoding="utf-8")
    columns = table(spark, shop, "member_features").columns[2:]
    assert {"spend_cents_trend_28d", "num_orders_gap_mean_91d", "as_of_date_days_to_holiday"} <= set(columns)
    assert [name for name in columns if f"| `{name}` |" not in page] == []


def test_a_date_whose_features_would_mean_something_else_is_refused(
    spark: SparkSession,
    shop: Path,
    small_shop: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(AGGREGATES, "trend", replace(AGGREGATES["trend"], version=99))
    options = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}", "--as-of", "2024-10-26"]
    assert run_job("features", options) == 2
    assert "published features changed their meaning: spend_cents_trend_28d" in capsys.readouterr().err


def test_sequences_and_profiles_of_the_shop_are_read_by_one_vocabulary(spark: SparkSession, shop: Path):
    kept = json.loads((shop / "runs" / "features" / "vocabulary.json").read_text())
    assert kept["fitted_through"] == "2024-08-03" and set(kept["entries"]["profile_city"]) == {"Ulm", "Kiel"}
    assert kept["entries"]["event_category"] == kept["entries"]["event_channel"] == []  # the shop has neither
    cities = table(spark, shop, "member_features").groupBy("profile_city").count().collect()
    assert {row[0] for row in cities} == {2, 3}
    rows = table(spark, shop, "member_event_sequences")
    row = rows.agg(F.max("num_events"), F.min("num_events"), F.min(F.size("hour")), F.max(F.size("hour"))).first()
    assert row is not None and tuple(row) == (8, 0, 8, 8)
    assert rows.count() == table(spark, shop, "member_features").count()
    encoder = json.loads((shop / "runs" / "examples" / "encoder.json").read_text())["encoder"]
    assert "profile_city" in encoder


def test_the_pandas_udf_gives_the_same_scores(spark: SparkSession, shop: Path, small_shop: Path):
    key = ["member_id", "as_of_date"]
    arrow = table(spark, shop, "member_scores").orderBy(*key).toPandas()
    options = ["--set", f"output_dir={shop.parent}", "--set", "scoring.method=pandas_udf"]
    bundle_of_map_in_arrow = json.loads((shop / "registry" / "champion.json").read_text())["model_version"]
    assert run_job("score", ["--config", str(small_shop), *options]) == 0
    pandas = table(spark, shop, "member_scores").orderBy(*key).toPandas()
    assert set(pandas["model_version"]) == {bundle_of_map_in_arrow}
    difference = [
        abs(a - b).max() for a, b in zip(arrow["p_level"].map(_array), pandas["p_level"].map(_array), strict=True)
    ]
    assert max(difference) <= 1e-6


def _array(values: object):
    import numpy as np

    return np.asarray(values)


def test_a_damaged_bundle_stops_scoring_and_leaves_the_ledger(
    spark: SparkSession, shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    version = json.loads((shop / "registry" / "champion.json").read_text())["model_version"]
    weights = shop / "registry" / version / "model.safetensors"
    good, before = weights.read_bytes(), content_hash(table(spark, shop, "member_scores"))
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        assert run_job("score", ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]) == 4
    finally:
        weights.write_bytes(good)
    assert "a model bundle is damaged" in capsys.readouterr().err
    assert content_hash(table(spark, shop, "member_scores")) == before


def test_current_scores_are_the_champions_latest_and_older_dates_change_them_not(
    spark: SparkSession, shop: Path, small_shop: Path
):
    version = json.loads((shop / "registry" / "champion.json").read_text())["model_version"]
    own = table(spark, shop, "member_scores").where(F.col("model_version") == version)
    latest = own.where("as_of_date = '2024-10-26'")
    assert content_hash(table(spark, shop, "current_scores")) == content_hash(latest)
    given = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]
    assert run_job("score", [*given, "--as-of", "2024-09-28"]) == 0
    assert content_hash(table(spark, shop, "current_scores")) == content_hash(latest)


def test_every_score_has_its_reasons_and_what_would_tip_the_member(spark: SparkSession, shop: Path):
    key = ["member_id", "as_of_date", "model_version"]
    scores, reasons = (
        table(spark, shop, name).toPandas().set_index(key) for name in ("member_scores", "member_reasons")
    )
    assert set(scores.index) == set(reasons.index)
    told = scores.join(reasons, lsuffix="", rsuffix="_told")
    # Orders are calibrated in this shop, reasons speak of the network; levels differ by one temperature.
    assert (told["p_up"] - told["p_up_told"]).abs().max() < 0.2
    for outcome in ("up", "down", "buy"):
        total = told[f"reasons_{outcome}"].map(lambda reasons: sum(reason["effect"] for reason in reasons))
        total = total + told[f"typical_p_{outcome}"] + told[f"unexplained_p_{outcome}"]
        own = told[f"p_{outcome}_told"]
        assert (total - own).abs().max() < 1e-6
        assert told[f"unexplained_p_{outcome}"].abs().mean() < 0.01
    advice = table(spark, shop, "member_advice")
    expected = (scores["level_now"] > 0).sum() + (scores["level_now"] < 2).sum()
    assert advice.count() == expected
    by_rules = advice.where("goal = 'rise' and needed > 0")
    assert by_rules.where("extra is null or extra > needed or extra < 0").count() == 0
    needed = table(spark, shop, "member_features").selectExpr(
        "member_id", "as_of_date", "to_level_1_spend_cents_carry_over as lacking"
    )
    first = advice.where("target_level = 1 and needed > 0").join(needed, ["member_id", "as_of_date"])
    assert first.count() > 0 and first.where("abs(needed - lacking) > lacking * 1e-6").count() == 0


def test_advice_run_again_changes_nothing_and_a_share_of_the_members_is_a_share(
    spark: SparkSession, shop: Path, small_shop: Path, caplog: pytest.LogCaptureFixture
):
    names = ("member_reasons", "member_advice")
    before = {name: content_hash(table(spark, shop, name)) for name in names}
    given = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]
    assert run_job("advise", [*given, "--set", "scoring.reasons_share=0.5"]) == 0
    reasons, scored = table(spark, shop, "member_reasons"), table(spark, shop, "member_scores")
    assert 0.3 * scored.count() < reasons.count() < 0.7 * scored.count()
    assert run_job("advise", given) == 0
    assert {name: content_hash(table(spark, shop, name)) for name in names} == before


def test_one_member_is_explained_by_the_id_of_the_source_and_by_the_pseudonym(
    spark: SparkSession, shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    given = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]
    assert run_job("explain", [*given, RAW_MEMBER]) == 0
    page = capsys.readouterr().out
    pseudonym = page.splitlines()[0].removeprefix("member ")
    assert len(pseudonym) == 64 and "as of 26 Oct 2024" in page and "Why the chance to place an order" in page
    assert RAW_MEMBER not in page and "What makes a level at least 50.0 % likely, 23 Nov 2024" in page
    assert run_job("explain", [*given, pseudonym, "--as-of", "2024-09-28"]) == 0
    assert "as of 28 Sep 2024" in capsys.readouterr().out


def test_a_model_without_typical_members_scores_and_does_not_explain(
    shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    version = json.loads((shop / "registry" / "champion.json").read_text())["model_version"]
    manifest = shop / "registry" / version / "manifest.json"
    typical, digests = manifest.with_name("typical.json"), manifest.read_text()
    content = typical.read_bytes()
    known = {name: digest for name, digest in json.loads(digests).items() if name != "typical.json"}
    typical.unlink()
    manifest.write_text(json.dumps(known))
    try:
        given = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]
        assert run_job("score", [*given, "--dry-run"]) == 0 and run_job("advise", given) == 4
    finally:
        typical.write_bytes(content)
        manifest.write_text(digests)
    assert "the model has no typical members to compare with" in capsys.readouterr().err


def test_a_champion_is_changed_by_hand_and_back_again(
    shop: Path, small_shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    registry, given = shop / "registry", ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]
    pointer = (registry / "champion.json").read_text()
    version = json.loads(pointer)["model_version"]
    files = load_bundle(registry, version).files
    other = publish(registry, {**files, "model.json": files["model.json"] + b" "})
    try:
        (registry / "champion.json").write_text(json.dumps({"model_version": version, "decision": {}}))
        assert run_job("promote", given) == 4
        assert "there is no champion to go back to" in capsys.readouterr().err
        assert run_job("promote", [*given, "m000000000000"]) == 4
        assert "there is no model bundle" in capsys.readouterr().err
        shared = ["--set", f"registry.url={tmp_path.as_uri()}"]
        assert run_job("promote", [*given, *shared, other]) == 0 and read_alias(registry, "champion") == other
        assert read_alias(tmp_path, "champion") == other and load_bundle(tmp_path, other).version == other
        decided = json.loads((registry / "champion.json").read_text())["decision"]
        assert decided == {"passed": None, "reasons": ["by hand"]}
        assert run_job("promote", given) == 0 and read_alias(registry, "champion") == version
    finally:
        (registry / "champion.json").write_text(pointer)
        shutil.rmtree(registry / other)


@pytest.mark.parametrize(
    ("stage", "options", "code", "message"),
    [
        ("labels", ["--as-of", "2024-10-26"], 5, "labels are not mature for as-of dates: 2024-10-26"),
        ("score", ["--as-of", "2024-10-25"], 4, "there are no features for as-of dates: 2024-10-25"),
        ("explain", ["--as-of", "2024-10-25", RAW_MEMBER], 4, "no score of this member as of 2024-10-25"),
        ("explain", ["nobody"], 4, "the champion has no score of this member"),
        ("features", ["--as-of", "2024-10-27"], 3, "as-of dates after the end of the data: 2024-10-27"),
        ("score", ["--set", "levels.window_days=90"], 4, "the champion was trained for another level programme"),
        ("evaluate", ["--set", "seed=99"], 4, "this configuration has not been trained"),
        ("register", ["--set", "seed=99"], 4, "this configuration has not been evaluated"),
        ("pipeline", ["--set", "timeline.validation=2024-08-30"], 5, "train labels overlap validation"),
        ("score", ["--as-of", "2024-10-26", "--from", "2024-10-26"], 2, "give either --as-of or --from and --to"),
        ("score", ["--from", "2024-10-26"], 2, "--from and --to belong together"),
        (
            "score",
            ["--from", "2024-10-26", "--to", "2024-10-26", "--every", "0"],
            2,
            "--every must be at least one day",
        ),
    ],
)
def test_a_users_mistake_ends_with_one_clear_line_and_its_exit_code(
    shop: Path,
    small_shop: Path,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    options: list[str],
    code: int,
    message: str,
):
    assert run_job(stage, ["--config", str(small_shop), "--set", f"output_dir={shop.parent}", *options]) == code
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and "at org." not in error


def test_a_dry_run_shows_pinned_versions_and_writes_nothing(
    spark: SparkSession, shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    before = sorted(path for path in shop.rglob("*"))
    arguments = [
        "--config",
        str(small_shop),
        "--set",
        f"output_dir={shop.parent}",
        "--dry-run",
        "--as-of",
        "2024-10-26",
    ]
    assert run_job("score", arguments) == 0
    shown = capsys.readouterr().out
    assert "member_features@v" in shown and "writes  member_scores" in shown and "as of   2024-10-26" in shown
    assert sorted(path for path in shop.rglob("*")) == before


def test_a_changed_encoder_record_is_refused(shop: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]):
    path = shop / "runs" / "examples" / "encoder.json"
    good = path.read_text()
    arguments = ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"]
    try:
        path.write_text(json.dumps({**json.loads(good), "examples_version": 999}))
        assert run_job("train", arguments) == 4
        path.unlink()
        assert run_job("train", arguments) == 4
    finally:
        path.write_text(good)
    errors = capsys.readouterr().err
    assert "the encoder belongs to other examples: version 999" in errors
    assert "the encoder of the examples is missing" in errors
