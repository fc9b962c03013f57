"""A mirror of the registry in MLflow, for those who look at models there; nothing is ever read back from it.

In: a published bundle, its evaluation and whether it is champion. Out: a run of the shop's experiment with parameters,
metrics, tags and the bundle as artefacts, and a version of the shop's registered model whose alias ``champion`` moves
with ours.

Whatever goes wrong here is a warning: the registration is done by then. Names and passwords come from MLflow's own
environment variables.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memberlevel_spark.config import Config, config_fingerprint
from memberlevel_spark.registry.champion import CHAMPION

BUNDLE = "bundle"
VERSION_TAG = "model_version"
log = logging.getLogger("memberlevel_spark")


def mirror_registration(config: Config, bundle: Path, evaluation: Mapping[str, Any], *, promoted: bool) -> None:
    """Mirror a bundle's folder once, and the alias where it was promoted; without ``registry.mlflow_uri`` nothing."""
    if config.registry.mlflow_uri is None:
        return
    with _or_warning(config), _client(config) as client:
        number = _mirrored(client, config, bundle.name) or _add(client, config, bundle, evaluation)
        if promoted:
            client.set_registered_model_alias(config.name, CHAMPION, number)


def mirror_champion(config: Config, version: str) -> None:
    """Move the alias to a version that was mirrored when it was registered; without ``registry.mlflow_uri`` nothing."""
    if config.registry.mlflow_uri is None:
        return
    with _or_warning(config), _client(config) as client:
        number = _mirrored(client, config, version)
        if number is None:
            log.warning("the mirror in MLflow does not have %s: its alias stays where it was", version)
        else:
            client.set_registered_model_alias(config.name, CHAMPION, number)


def _add(client: Any, config: Config, bundle: Path, evaluation: Mapping[str, Any]) -> str:
    """A run and a model version of a bundle; the number of the latter."""
    found = client.get_experiment_by_name(config.name)
    experiment = found.experiment_id if found else client.create_experiment(config.name)
    run = client.create_run(experiment, run_name=bundle.name, tags=_tags(config, bundle))
    run_id = run.info.run_id
    for name, value in _parameters(config).items():
        client.log_param(run_id, name, value)
    for name, value in _metrics(evaluation).items():
        client.log_metric(run_id, name, value)
    client.log_artifacts(run_id, str(bundle), BUNDLE)
    client.set_terminated(run_id)
    if not client.search_registered_models(f"name = '{config.name}'"):
        client.create_registered_model(config.name)
    source = f"{run.info.artifact_uri}/{BUNDLE}"
    return str(client.create_model_version(config.name, source, run_id, tags={VERSION_TAG: bundle.name}).version)


def _mirrored(client: Any, config: Config, version: str) -> str | None:
    """The number that MLflow gave to a model version of ours; None where it has none."""
    known = client.search_model_versions(f"name = '{config.name}'")
    return next((str(each.version) for each in known if each.tags.get(VERSION_TAG) == version), None)


def _tags(config: Config, bundle: Path) -> dict[str, str]:
    """What it was made from: the configuration, and the version of every table that was read."""
    lineage = json.loads((bundle / "lineage.json").read_text(encoding="utf-8"))
    read = {f"table.{name}": str(number) for stage in lineage.values() for name, number in stage["read"].items()}
    return {VERSION_TAG: bundle.name, "fingerprint": config_fingerprint(config), **read}


def _parameters(config: Config) -> dict[str, Any]:
    sections = {"model": config.model, "training": config.training, "timeline": config.timeline}
    return {
        f"{section}.{name}": value
        for section, settings in sections.items()
        for name, value in settings.model_dump(mode="json").items()
    } | {"seed": config.seed}


def _metrics(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the model and its rivals on the test date, those that are defined."""
    return {
        f"{forecaster}.{metric}": float(value)
        for forecaster, values in evaluation["test"].items()
        for metric, value in values.items()
        if value is not None
    }


@contextmanager
def _client(config: Config) -> Iterator[Any]:
    # MLflow tells its makers how it is used, unless it is asked not to before it is loaded.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    uri = config.registry.mlflow_uri
    yield MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _or_warning(config: Config) -> Iterator[None]:
    try:
        yield
    except ImportError as problem:
        log.warning(
            "the mirror in MLflow is skipped, since it is not installed: %s. pip install mlflow-skinny", problem
        )
    except Exception as problem:
        # What a server or a store may say is not known beforehand.
        log.warning(
            "the mirror in MLflow is not up to date: %s (%s: %s). The registry itself is; register again to mend it",
            *(config.registry.mlflow_uri, type(problem).__name__, " ".join(str(problem).split())),
        )
