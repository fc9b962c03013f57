"""The mirror in MLflow, in a store of files, and what happens when it fails."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from memberlevel_spark.config import Config, config_fingerprint, load_config
from memberlevel_spark.registry.mirror import mirror_champion, mirror_registration
from tests.small_shop import write_small_shop

EVALUATION = {"test": {"model": {"log_loss": 0.25, "upgrade_auc": None}, "persistence": {"log_loss": 0.5}}}
LINEAGE = {"train": {"read": {"examples": 7}}, "labels": {"read": {"member_days": 3}}}


def configured(tmp_path: Path, uri: str) -> Config:
    return load_config(write_small_shop(tmp_path), [f"registry.mlflow_uri={uri}"], {})


def bundle(tmp_path: Path, version: str) -> Path:
    folder = tmp_path / "registry" / version
    folder.mkdir(parents=True)
    (folder / "model_card.md").write_text("# Model card")
    (folder / "lineage.json").write_text(json.dumps(LINEAGE))
    return folder


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlflow").as_uri()
    # Its store of files asks the tracking store of the environment for a part; by default that is a file beside us.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking = pytest.importorskip("mlflow.tracking")
    return tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_a_registration_is_a_run_and_a_model_version_and_the_alias_moves_with_the_champion(
    tmp_path: Path, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured(tmp_path, client.tracking_uri)
    first, second = bundle(tmp_path, "m1"), bundle(tmp_path, "m2")
    mirror_registration(config, first, EVALUATION, promoted=True)
    mirror_registration(config, second, EVALUATION, promoted=False)
    mirror_registration(config, second, EVALUATION, promoted=False)
    assert client.get_model_version_by_alias("small_shop", "champion").tags == {"model_version": "m1"}
    experiment = client.get_experiment_by_name("small_shop")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["m1", "m2"]
    run = runs["m1"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"model.log_loss": 0.25, "persistence.log_loss": 0.5}
    assert run.data.params["model.name"] == "mlp" and run.data.params["training.batch_rows"] == "256"
    assert run.data.params["timeline.test"] == "2024-09-28"
    told = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    assert told == {
        "model_version": "m1",
        "fingerprint": config_fingerprint(config),
        "table.examples": "7",
        "table.member_days": "3",
    }
    kept = [each.path for each in client.list_artifacts(run.info.run_id, "bundle")]
    assert kept == ["bundle/lineage.json", "bundle/model_card.md"]
    mirror_champion(config, "m2")
    assert client.get_model_version_by_alias("small_shop", "champion").tags == {"model_version": "m2"}
    mirror_champion(config, "m3")
    assert "does not have m3: its alias stays where it was" in caplog.text
    assert client.get_model_version_by_alias("small_shop", "champion").tags == {"model_version": "m2"}
    assert len([record for record in caplog.records if record.name == "memberlevel_spark"]) == 1


def test_a_store_that_fails_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mlflow.tracking")
    (tmp_path / "taken").write_text("")
    config = configured(tmp_path, (tmp_path / "taken" / "mlflow").as_uri())
    mirror_registration(config, bundle(tmp_path, "m1"), EVALUATION, promoted=True)
    mirror_champion(config, "m1")
    told = [record.getMessage() for record in caplog.records if record.name == "memberlevel_spark"]
    assert len(told) == 2 and all(text.startswith("the mirror in MLflow is not up to date: file:") for text in told)


def test_an_mlflow_that_is_not_installed_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    mirror_registration(configured(tmp_path, "file:/nowhere"), bundle(tmp_path, "m1"), EVALUATION, promoted=True)
    assert "the mirror in MLflow is skipped, since it is not installed" in caplog.text


def test_without_a_mirror_mlflow_is_not_even_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    config = load_config(write_small_shop(tmp_path), [], {})
    mirror_registration(config, tmp_path / "no bundle", {}, promoted=True)
    mirror_champion(config, "m1")
