"""The stage register: bundle the trained model, ask the gate, move the alias."""

import json
from dataclasses import asdict

from memberlevel_spark.config import masked_yaml
from memberlevel_spark.evaluation.stage import load_evaluation
from memberlevel_spark.registry.bundle import load_bundle, publish, read_alias, write_alias
from memberlevel_spark.registry.champion import CHAMPION, registry_dir
from memberlevel_spark.registry.gate import decide
from memberlevel_spark.run import RowCounts, Run, StageResult, stage_records
from memberlevel_spark.training.stage import trained_files


def run_register(run: Run) -> StageResult:
    """Publish the bundle; make it champion when it passes the gate, else keep the present champion and say why."""
    evaluation = load_evaluation(run)
    files = {
        **trained_files(run),
        "levels.json": run.config.levels.model_dump_json().encode(),
        "config.yaml": masked_yaml(run.config).encode(),
        "metrics.json": json.dumps(evaluation["test"], indent=1, sort_keys=True).encode(),
        "lineage.json": json.dumps(_lineage(run), indent=1, sort_keys=True).encode(),
    }
    version = publish(registry_dir(run), files)
    load_bundle(registry_dir(run), version)
    test = evaluation["test"]
    decision = decide(test["model"], test["persistence"], num_members=evaluation["num_members"])
    champion = read_alias(registry_dir(run), CHAMPION)
    if decision.passed:
        write_alias(registry_dir(run), CHAMPION, version, asdict(decision))
        note = f"{version} is champion: {'; '.join(decision.reasons)}"
    else:
        note = f"{version} did not pass the gate, champion stays {champion}: {'; '.join(decision.reasons)}"
    return StageResult(RowCounts(0, 0), {}, {}, note)


def _lineage(run: Run) -> dict[str, object]:
    """Table versions every stage up to the training read and wrote."""
    return {record["stage"]: {"read": record["read"], "written": record["written"]} for record in stage_records(run)}
