"""The stage register: bundle the trained model, prove that it scores as it was trained, ask the gate, move aliases."""

import json
from dataclasses import asdict
from typing import Any

from memberlevel_spark.config import masked_yaml
from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.evaluation.score_profile import SCORE_PROFILE
from memberlevel_spark.evaluation.stage import load_evaluation
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.features.stage import features_of
from memberlevel_spark.registry.bundle import load_bundle, publish, read_alias, version_of, write_alias
from memberlevel_spark.registry.canary import CANARY, canary_file, impossible_forecasts
from memberlevel_spark.registry.card import CARD, CardFacts, model_card
from memberlevel_spark.registry.champion import CHALLENGER, CHAMPION, present_registry
from memberlevel_spark.registry.gate import decide
from memberlevel_spark.registry.mirror import mirror_registration
from memberlevel_spark.registry.parity import check_parity
from memberlevel_spark.registry.shared import push_alias, push_bundle
from memberlevel_spark.run import RowCounts, Run, StageResult, stage_records
from memberlevel_spark.scoring.topics import topics
from memberlevel_spark.scoring.trained_features import TRAINED_ON
from memberlevel_spark.training.stage import ENCODER, trained_files


def run_register(run: Run) -> StageResult:
    """Publish the bundle as challenger; make it champion when it passes the gate, else the present one stays.

    Either way the decision and its numbers are kept with the alias.

    Errors: ArtefactError when the champion has changed since the evaluation; those of ``check_parity``.
    """
    evaluation, registry, url = load_evaluation(run), present_registry(run), run.config.registry.url
    trained = trained_files(run)
    files: dict[str, bytes] = {
        **trained,
        CANARY: canary_file(trained),
        "levels.json": run.config.levels.model_dump_json().encode(),
        "config.yaml": masked_yaml(run.config).encode(),
        SCORE_PROFILE: json.dumps(evaluation["score_profile"], sort_keys=True).encode(),
        "metrics.json": json.dumps(evaluation["test"], indent=1, sort_keys=True).encode(),
        "lineage.json": json.dumps(_lineage(run), indent=1, sort_keys=True).encode(),
    }
    parity, trained_on = check_parity(run)
    files[TRAINED_ON] = trained_on.to_json().encode()
    version, champion = version_of(files), read_alias(registry, CHAMPION)
    _require_compared(champion, version, evaluation)
    decision = decide(evaluation, impossible_forecasts(files[CANARY]), run.config.gate)
    told = topics(Encoder.from_json(files[ENCODER].decode("utf-8")), features_of(run))
    files[CARD] = model_card(CardFacts(version, run.config, evaluation, files, told, decision)).encode()
    publish(registry, files)
    load_bundle(registry, version)
    push_bundle(registry, url, version)
    kept = {**asdict(decision), "run": run.fingerprint, "parity": parity.plain()}
    write_alias(registry, CHALLENGER, version, kept)
    push_alias(registry, url, CHALLENGER)
    if decision.passed:
        write_alias(registry, CHAMPION, version, kept)
        push_alias(registry, url, CHAMPION)
        note = f"{version} is champion: {'; '.join(decision.reasons)}"
    else:
        note = f"{version} did not pass the gate, champion stays {champion}: {'; '.join(decision.failed)}"
    mirror_registration(run.config, registry / version, evaluation, promoted=decision.passed)
    return StageResult(RowCounts(0, 0), {}, {}, note)


def _require_compared(champion: str | None, version: str, evaluation: dict[str, Any]) -> None:
    """Refuse an evaluation that compared the model with another champion than it would replace."""
    compared = (evaluation["champion"] or {}).get("model_version")
    if champion not in (None, version, compared):
        raise ArtefactError(
            f"the champion has changed since the model was evaluated: it is {champion}, compared was"
            f" {compared or 'none'}. Run the stage evaluate again."
        )


def _lineage(run: Run) -> dict[str, object]:
    """Table versions every stage up to the training read and wrote."""
    return {record["stage"]: {"read": record["read"], "written": record["written"]} for record in stage_records(run)}
