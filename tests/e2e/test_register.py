"""Registration: the decision of the gate is kept, the champion is compared, and scoring reads what training read."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.cli import run_job
from memberlevel_spark.registry.bundle import load_bundle, publish, read_alias, write_alias
from memberlevel_spark.registry.card import escaped

pytestmark = pytest.mark.e2e
TEST_DATE = "2024-09-28"


@pytest.fixture(scope="module")
def own_shop(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small shop after a full run, to be changed."""
    own = tmp_path_factory.mktemp("registered") / shop.name
    shutil.copytree(shop, own)
    return own


@pytest.fixture
def job(own_shop: Path, small_shop: Path) -> Callable[..., int]:
    def run(name: str, *settings: str) -> int:
        given = [f"output_dir={own_shop.parent}", *settings]
        return run_job(name, ["--config", str(small_shop), *(part for each in given for part in ("--set", each))])

    return run


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_decision_and_its_numbers_are_kept_with_both_aliases(own_shop: Path) -> None:
    champion, challenger = (read(own_shop / "registry" / f"{alias}.json") for alias in ("champion", "challenger"))
    assert champion["model_version"] == challenger["model_version"]
    decision = champion["decision"]
    assert decision == challenger["decision"] and decision["passed"] is True
    assert [reason.partition(":")[0] for reason in decision["reasons"]] == [
        "persistence",
        "persistence",
        "persistence",
        "boosted_tree",
        "calibration",
        "slices",
        "canaries",
    ]
    assert decision["parity"]["num_members"] > 100
    assert decision["parity"]["largest_difference"] <= 1e-6
    (run_dir,) = (own_shop / "runs").glob("train-*")
    told = read(run_dir / "evaluation.json")["comparisons"]
    assert set(told) == {"boosted_tree", "logistic", "run_rate", "persistence", "majority"}
    assert told["persistence"]["log_loss"]["low"] <= told["persistence"]["log_loss"]["mean"]


def test_the_bundle_has_a_card_that_says_what_it_is_and_how_good(own_shop: Path) -> None:
    registry = own_shop / "registry"
    version = read_alias(registry, "champion")
    assert version is not None
    card = load_bundle(registry, version).text("model_card.md")
    test = json.loads((own_shop / "metrics.json").read_text())["test"]
    champion = read(registry / "champion.json")["decision"]
    assert card.startswith(f"# Model card: {version} of small\\_shop\n\n## Intended use\n")
    shown = [test[name]["log_loss"] for name in ("model", "persistence", "boosted_tree")]
    assert f"| `log_loss` | {' | '.join(f'{value:.4f}' for value in shown)} |" in card
    assert "\n- Attributes of the profile that the model reads: city\n" in card
    assert "\nWhen this version was first registered it passed; " in card
    assert card.count(": passed\n") == len(champion["reasons"])
    (run_dir,) = (own_shop / "runs").glob("train-*")
    judged = [row for row in read(run_dir / "evaluation.json")["slices"] if row["accuracy"] is not None]
    for row in judged:
        assert f"| {escaped(row['dimension'])} | {escaped(row['slice'])} | {row['members']} |" in card
    assert "\nWeakest beside persistence: " in card


def test_a_model_that_fails_the_gate_is_challenger_and_the_champion_stays(
    own_shop: Path, job: Callable[..., int], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = own_shop / "registry"
    before = (registry / "champion.json").read_bytes()
    (run_dir,) = (own_shop / "runs").glob("train-*")
    evaluation, good = read(run_dir / "evaluation.json"), (run_dir / "evaluation.json").read_text()
    evaluation["comparisons"]["persistence"]["log_loss"]["mean"] = 0.1
    (run_dir / "evaluation.json").write_text(json.dumps(evaluation))
    try:
        with caplog.at_level("INFO"):
            assert job("register") == 0
        del evaluation["comparisons"]
        (run_dir / "evaluation.json").write_text(json.dumps(evaluation))
        assert job("register") == 4
    finally:
        (run_dir / "evaluation.json").write_text(good)
    assert "evaluation.json lacks comparisons. Run the stage evaluate" in capsys.readouterr().err
    assert "did not pass the gate, champion stays m" in caplog.text
    assert (registry / "champion.json").read_bytes() == before
    assert read(registry / "challenger.json")["decision"]["passed"] is False


def test_another_champion_is_compared_and_a_change_of_it_asks_for_a_new_evaluation(
    spark: SparkSession, own_shop: Path, job: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = own_shop / "registry"
    version = read_alias(registry, "champion")
    assert version is not None
    files = load_bundle(registry, version).files
    # The same network by another name: it says the same of everybody.
    twin = publish(registry, {**files, "model.json": files["model.json"] + b" "})
    write_alias(registry, "champion", twin, {})
    assert job("register") == 4
    assert f"it is {twin}, compared was none. Run the stage evaluate again" in capsys.readouterr().err
    assert job("evaluate") == 0
    (run_dir,) = (own_shop / "runs").glob("train-*")
    evaluation = read(run_dir / "evaluation.json")
    assert evaluation["champion"] == {"model_version": twin, "why_not": None}
    assert evaluation["test"]["champion"] == evaluation["test"]["model"]
    assert evaluation["comparisons"]["champion"]["log_loss"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert job("register") == 0
    assert read_alias(registry, "champion") == twin  # no better than it
    foreign = publish(registry, {**files, "levels.json": b"{}"})
    write_alias(registry, "champion", foreign, {})
    assert job("evaluate") == 0
    present = read(run_dir / "evaluation.json")["champion"]
    assert present["model_version"] == foreign and "another level programme" in present["why_not"]
    assert job("register", f"registry.url={tmp_path.as_uri()}") == 0 and read_alias(registry, "champion") == version
    for alias in ("champion", "challenger"):
        assert (tmp_path / f"{alias}.json").read_bytes() == (registry / f"{alias}.json").read_bytes()
    assert load_bundle(tmp_path, version).files == files
    assert job("evaluate") == 0 and read(run_dir / "evaluation.json")["champion"] is None


def test_features_that_are_others_now_or_members_that_are_gone_stop_the_registration(
    spark: SparkSession, own_shop: Path, job: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    features = DeltaTable.forPath(spark, str(own_shop / "tables" / "member_features"))
    good = features.history(1).collect()[0]["version"]
    on_test_date = F.col("as_of_date") == TEST_DATE
    try:
        features.update(on_test_date, {"tenure_days": F.col("tenure_days") + 1})
        assert job("register") == 3
        told = capsys.readouterr().err
        assert "scoring would read other features than training did, on the same date: tenure_days" in told
        features.restoreToVersion(good)
        some = features.toDF().where(on_test_date).orderBy("member_id").first()
        assert some is not None
        features.delete(on_test_date & (F.col("member_id") != some["member_id"]))
        assert job("register") == 3
        assert "members of the test date cannot be scored" in capsys.readouterr().err
    finally:
        features.restoreToVersion(good)


def test_a_scoring_path_that_says_something_else_stops_registration_and_scoring(
    spark: SparkSession,
    own_shop: Path,
    job: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert job("score") == 0
    ledger = DeltaTable.forPath(spark, str(own_shop / "tables" / "member_scores"))
    written = ledger.history(1).collect()[0]
    assert 0 <= json.loads(written["userMetadata"])["parity"] <= 1e-6
    from memberlevel_spark.scoring import parity

    honest = parity.level_probabilities
    monkeypatch.setattr(parity, "level_probabilities", lambda *given: honest(*given) * (1 + 1e-5))
    for name in ("register", "score"):
        assert job(name) == 3
        assert "scoring and training say different things of the same members" in capsys.readouterr().err
    assert ledger.history(1).collect()[0]["version"] == written["version"]


def test_features_of_training_are_made_anew_in_every_scoring_run_and_held_beside_the_examples(
    spark: SparkSession, own_shop: Path, job: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = DeltaTable.forPath(spark, str(own_shop / "tables" / "member_scores"))
    features = DeltaTable.forPath(spark, str(own_shop / "tables" / "member_features"))
    on_test_date = F.col("as_of_date") == TEST_DATE
    good = features.history(1).collect()[0]["version"]
    num_members = features.toDF().where(on_test_date).count()
    # Late events are no difference: what was registered is what is compared.
    features.update(on_test_date, {"tenure_days": F.col("tenure_days") + 1})
    changed = features.history(1).collect()[0]["version"]
    try:
        assert job("score", f"scoring.proof_members={num_members}") == 0
        written = ledger.history(1).collect()[0]
        assert json.loads(written["userMetadata"])["compared"] == num_members
        with trained_on(own_shop, lambda record: record["tables"]["member_features"].update(version=changed)):
            assert job("score", "scoring.proof_members=5") == 3
        told = capsys.readouterr().err
        assert "scoring would read other features than training did, on the same date: tenure_days" in told
        assert ledger.history(1).collect()[0]["version"] == written["version"]
    finally:
        features.restoreToVersion(good)


@pytest.mark.parametrize(
    ("change", "why_not"),
    [
        (lambda record: record["tables"]["examples"].update(id="another"), "it was trained on other tables than"),
        (lambda record: record["tables"]["examples"].update(version=99), "examples version 99"),
        (None, "the bundle is of before it said which tables it was trained on"),
    ],
)
def test_where_the_tables_of_training_are_not_to_be_had_the_members_are_scored_and_it_is_told(
    spark: SparkSession,
    own_shop: Path,
    job: Callable[..., int],
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Any], None] | None,
    why_not: str,
) -> None:
    ledger = DeltaTable.forPath(spark, str(own_shop / "tables" / "member_scores"))
    with trained_on(own_shop, change), caplog.at_level("INFO"):
        assert job("score") == 0
    told = caplog.text.partition("features not compared with those of training: ")[2]
    assert why_not in told
    assert json.loads(ledger.history(1).collect()[0]["userMetadata"])["compared"] == 0


def test_a_file_of_training_that_is_gone_keeps_nobody_from_scoring(
    spark: SparkSession, own_shop: Path, job: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    files = sorted((own_shop / "tables" / "examples" / "split=test").glob("*.parquet"))
    assert files
    for file in files:
        file.rename(file.with_suffix(".gone"))
    try:
        with caplog.at_level("INFO"):
            assert job("score") == 0
    finally:
        for file in files:
            file.with_suffix(".gone").rename(file)
    assert "features not compared with those of training: the tables it was trained on are vacuumed" in caplog.text


@contextmanager
def trained_on(shop: Path, change: Callable[[Any], None] | None) -> Iterator[None]:
    """The champion says that it was trained on something else, or nothing about it."""
    registry = shop / "registry"
    version = read_alias(registry, "champion")
    assert version is not None
    files = dict(load_bundle(registry, version).files)
    record = json.loads(files.pop("trained_on.json"))
    if change:
        change(record)
        files["trained_on.json"] = json.dumps(record).encode()
    # The version is of what decides the scores, so that this is another one.
    odd = publish(registry, {**files, "encoder.json": files["encoder.json"] + b" "})
    write_alias(registry, "champion", odd, {})
    try:
        yield
    finally:
        write_alias(registry, "champion", version, {})
        shutil.rmtree(registry / odd)


def test_scores_are_not_made_by_a_model_that_answers_otherwise_here(
    spark: SparkSession, own_shop: Path, job: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    registry = own_shop / "registry"
    version = read_alias(registry, "champion")
    assert version is not None
    files = dict(load_bundle(registry, version).files)
    canary = json.loads(files["canary.json"])
    canary["forecasts"][0][0] += 0.01
    odd = publish(
        registry, {**files, "canary.json": json.dumps(canary).encode(), "encoder.json": files["encoder.json"] + b" "}
    )
    write_alias(registry, "champion", odd, {})
    try:
        assert job("score") == 4
    finally:
        write_alias(registry, "champion", version, {})
    assert "does not say here what it said when it was registered" in capsys.readouterr().err
