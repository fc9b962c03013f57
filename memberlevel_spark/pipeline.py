"""The order of the stages, written once: the help of the jobs is made from it, README's table is tested against it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from memberlevel_spark.run import Run, StageResult, run_stage

log = logging.getLogger("memberlevel_spark")


@dataclass(frozen=True)
class Stage:
    """One step of the flow. ``reads`` and ``writes`` are tables, or files in parentheses."""

    name: str
    makes: str
    grain: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    function: str  # room.module:function, imported when it runs, so that --help needs neither Spark nor torch
    dated: bool = False  # takes --as-of, --from and --to
    session: bool = True  # False: starts no Spark session, and its function takes what it is asked instead of a run

    def load(self) -> Callable[[Any], StageResult]:
        """The stage function."""
        module, _, name = self.function.partition(":")
        function: Callable[[Any], StageResult] = getattr(import_module(f"memberlevel_spark.{module}"), name)
        return function


STAGES = (
    Stage("bronze", "source rows as they came", "source row", (), ("bronze_*",), "ingest.stage:run_bronze"),
    Stage(
        "silver",
        "clean events, profile history, products, every rejected row, quality",
        "event; member, valid_from; product; rejected row",
        ("bronze_*",),
        ("events", "members", "products", "quarantine", "late_events", "quality_results"),
        "ingest.stage:run_silver",
    ),
    Stage(
        "member_days",
        "additive daily tiles",
        "member, day",
        ("events", "products"),
        ("member_days", "member_day_breakdowns"),
        "features.tiles_stage:run_member_days",
    ),
    Stage(
        "levels",
        "the level each member held and why, by the level rules",
        "rules_version, member, valid_from",
        ("members", "member_days"),
        ("member_levels",),
        "levels.stage:run_levels",
    ),
    Stage(
        "features",
        "point-in-time features, weekly and event sequences",
        "member, as_of_date",
        ("members", "member_days", "member_day_breakdowns", "member_levels", "events", "products"),
        ("member_features", "member_sequences", "member_event_sequences"),
        "features.stage:run_features",
        dated=True,
    ),
    Stage(
        "labels",
        "what happened next, mature only",
        "member, as_of_date",
        ("member_features", "member_days", "member_levels"),
        ("member_labels",),
        "examples.stage:run_labels",
        dated=True,
    ),
    Stage(
        "examples",
        "encoded arrays, targets and split; what Petastorm reads",
        "member, as_of_date",
        ("member_features", "member_sequences", "member_labels", "members"),
        ("examples",),
        "examples.stage:run_examples",
    ),
    Stage("train", "weights and curves in a run folder", "-", ("examples",), ("(runs/)",), "training.stage:run_train"),
    Stage(
        "evaluate",
        "metrics against baselines on the test date",
        "-",
        ("examples", "member_days", "member_features", "members"),
        ("(metrics.json)",),
        "evaluation.stage:run_evaluate",
    ),
    Stage(
        "register",
        "model bundle; champion only through the gate",
        "model version",
        (),
        ("(registry/)",),
        "registry.stage:run_register",
    ),
    Stage(
        "score",
        "the champion's prediction for every member",
        "member, as_of_date, model_version",
        ("member_features", "member_sequences"),
        ("member_scores", "current_scores"),
        "scoring.stage:run_score",
        dated=True,
    ),
    Stage(
        "advise",
        "reasons behind the chances, and what would tip each member",
        "member, as_of_date, model_version; and goal, metric",
        ("member_features", "member_sequences"),
        ("member_reasons", "member_advice"),
        "scoring.advise_stage:run_advise",
        dated=True,
    ),
    Stage(
        "monitor",
        "drift, health of the tables, alerts, expected migration",
        "metric, slice, as_of_date, model_version",
        ("member_scores", "member_features", "member_sequences", "events", "member_days", "member_levels"),
        ("monitor_metrics", "alerts", "(monitoring/metrics.prom)"),
        "monitoring.stage:run_monitor",
        dated=True,
    ),
    Stage(
        "outcomes",
        "whether forecasts came true, once it is known",
        "as_of_date, model_version, dimension, slice, metric; and level_from, level_to",
        ("member_scores", "member_features", "member_days", "member_levels"),
        ("outcomes", "migrations"),
        "monitoring.outcomes_stage:run_outcomes",
        dated=True,
    ),
    Stage(
        "report",
        "one self-contained HTML file",
        "-",
        (
            *("member_days", "member_levels", "member_features", "member_scores", "member_reasons", "member_advice"),
            *("monitor_metrics", "alerts", "outcomes", "migrations", "quarantine"),
        ),
        ("(report.html)",),
        "report.stage:run_report",
        dated=True,
    ),
)

# Jobs beside the flow: run by themselves, never by the pipeline.
TOOLS = (
    Stage(
        "world",
        "a synthetic shop's files, and the truth behind them",
        "line of a file; member; member, as_of_date",
        (),
        ("(raw/)", "truth_members", "truth_levels", "truth_campaigns", "truth_defects"),
        "synthetic.stage:run_world",
    ),
    Stage(
        "leakage_check",
        "a line per check: other futures change nothing, no feature is an outcome; exit code 5 for a leak",
        "check",
        ("events", "members"),
        (),
        "evaluation.leakage_job:run_leakage_check",
        dated=True,
    ),
    Stage(
        "experiments",
        "the model, variants of it and its rivals over several test dates and seeds",
        "forecaster, test date, seed",
        ("members", "member_days", "member_levels"),
        ("backtest_examples", "learning_curve_examples", "(experiments.json)", "(experiments.md)"),
        "evaluation.experiments:run_experiments",
    ),
    Stage(
        "explain",
        "a page about one member: the forecast, the reasons, what would tip them",
        "member",
        ("member_scores", "member_reasons", "member_advice"),
        (),
        "report.explain:run_explain",
        dated=True,
    ),
    Stage(
        "call_list",
        "a file of the members to call, the likeliest to move up first, by one threshold or by one for each group",
        "member",
        ("member_scores", "members"),
        ("(call_list.csv)",),
        "report.call_list:run_call_list",
        dated=True,
    ),
    Stage(
        "score_one",
        "one member's forecast from their rows in the tables, now and without Spark",
        "member",
        ("members", "member_days", "member_day_breakdowns", "member_levels", "member_scores"),
        (),
        "serving.stage:run_score_one",
        session=False,
    ),
    Stage(
        "serve",
        "answers over HTTP: forecasts, reasons and advice of single members",
        "request",
        ("members", "member_days", "member_day_breakdowns", "member_levels", "member_scores"),
        (),
        "serving.stage:run_serve",
        session=False,
    ),
    Stage(
        "promote",
        "another bundle champion by hand, such as the one before",
        "-",
        (),
        ("(registry/)",),
        "registry.promote:run_promote",
    ),
    Stage(
        "embeddings",
        "what the pretrained encoder makes of every member's last events",
        "member, as_of_date, encoder_version",
        ("member_features", "member_sequences", "member_event_sequences"),
        ("member_embeddings",),
        "scoring.embeddings:run_embeddings",
        dated=True,
    ),
    Stage(
        "tune",
        "the settings with the lowest validation log-loss in the declared space",
        "trial",
        ("examples",),
        ("(tuning/)",),
        "training.tuning.stage:run_tune",
    ),
    Stage(
        "compress",
        "the trained model quantised, pruned and distilled: size, speed, agreement, quality",
        "compressed model",
        ("examples",),
        ("(runs/)", "(compression.json)", "(compression.md)", "(compression.png)"),
        "evaluation.compression:run_compress",
    ),
)


def stage_named(name: str) -> Stage:
    """The stage or tool of that name; KeyError when there is none."""
    return {stage.name: stage for stage in (*STAGES, *TOOLS)}[name]


def run_one(stage: Stage, run: Run) -> StageResult:
    """One stage, with its place in the flow in the log and in its record; a tool has none, and one that writes nothing
    leaves no record either."""
    if stage in TOOLS:
        log.info("%s: %s", stage.name, stage.makes)
        return run_stage(stage.name, stage.load(), run, recorded=bool(stage.writes))
    number = STAGES.index(stage) + 1
    log.info("[%d/%d] %s: %s", number, len(STAGES), stage.name, stage.makes)
    return run_stage(stage.name, stage.load(), run, number)


def run_pipeline(run: Run) -> None:
    """All stages in order."""
    for stage in STAGES:
        run_one(stage, run)
