"""Command line of the jobs: parse, run, say what happened, end with an exit code that means something.

Exit codes: 0 done; 1 unexpected; 2 configuration, arguments or set-up; 3 data quality; 4 artefact missing or damaged;
5 leakage or immature labels; 6 alerts, where --fail-on-alert asked for it; 130 interrupted.
"""

import argparse
import logging
import sys
import traceback
import uuid
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from memberlevel_spark.config import Config, config_fingerprint, load_config, masked_yaml
from memberlevel_spark.errors import ConfigError, MemberLevelError
from memberlevel_spark.timeline import every

PIPELINE, LEAKAGE_CHECK, EXPLAIN, PROMOTE = "pipeline", "leakage_check", "explain", "promote"
SCORE, SCORE_ONE, SERVE = "score", "score_one", "serve"
OUTCOMES, MONITOR, DOCTOR = "outcomes", "monitor", "doctor"
# What a run is told by an argument that only one job has.
ASKED = {
    "every_seconds": "continuous",
    "incremental": "incremental",
    "member": "member",
    "model_version": "model_version",
}
EXIT_CODES = "Exit codes: 0 done, 1 unexpected, 2 configuration, 3 data quality, 4 artefact, 5 leakage, 6 alerts."
DOCTOR_EXIT_CODES = "Exit codes: 0 nothing is broken, warnings or not; 1 something is, the configuration included."
DOCTOR_CHECKS = """\
Look for what keeps a shop from running, one line a check:

  configuration  the merged YAML is valid
  machine        Python, Java, packages, Delta's jars, the pseudonym key (never told), room and right to write
  tables         every Delta log can be replayed without a gap, every live file is there and whole, no feature
                 that a reader here does not know; tables that a stage would make and has not
  registry       every bundle is as it was written, the champion is one of them and fits the levels
  run folders    every checkpoint is as it was written

A line begins with ok, warning (it works, look at it) or broken (a job will fail), and ends with the repair. Nothing is
changed, and no Spark is started: it also tells where Spark does not start."""
log = logging.getLogger("memberlevel_spark")


def main() -> int:
    """``memberlevel <stage or pipeline> ...``: the same jobs as one command."""
    from memberlevel_spark.pipeline import STAGES, TOOLS

    names = [PIPELINE, *(stage.name for stage in (*STAGES, *TOOLS)), DOCTOR]
    name = sys.argv[1].replace("-", "_") if len(sys.argv) > 1 else ""
    if name not in names:
        print(
            f"usage: memberlevel {{{','.join(names)}}} --config conf/<shop>.yaml  (each answers --help)",
            file=sys.stderr,
        )
        return ConfigError.exit_code
    return run_job(name, sys.argv[2:])


def run_job(name: str, arguments: Sequence[str]) -> int:
    """Run one stage, or all, from its arguments; returns the exit code and never lets a stack trace through."""
    parsed = build_parser(name).parse_args(arguments)
    _start_logging(getattr(parsed, "verbose", False))
    shop_dir: Path | None = None
    try:
        if name == DOCTOR:
            return _examine(parsed)
        config = _configured(name, parsed)
        shop_dir = config.shop_dir
        if parsed.print_config:
            print(masked_yaml(config), end="")
            return 0
        _run(name, config, parsed)
        return 0
    except MemberLevelError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("interrupted; the tables hold what was committed, run the job again to go on", file=sys.stderr)
        return 130
    except Exception as problem:
        return _unexpected(problem, shop_dir)


def build_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one job; its help is made from the pipeline's declaration of the stage."""
    parser = argparse.ArgumentParser(
        prog=f"python -m jobs.{name}",
        description=_description(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=DOCTOR_EXIT_CODES if name == DOCTOR else EXIT_CODES,
    )
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        action="append",
        help="the shop's YAML; base.yaml beside it gives the defaults; further files are laid over it in their order",
    )
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override one key; may be repeated")
    if _is_dated(name):
        _add_dates(parser, name)
    _add_own_arguments(parser, name)
    if name == DOCTOR:
        return parser
    parser.add_argument(
        "--print-config", action="store_true", help="print the merged configuration, secrets masked, and stop"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print inputs with their versions and the outputs; write nothing"
    )
    parser.add_argument("--verbose", action="store_true", help="log more")
    return parser


def _add_dates(parser: argparse.ArgumentParser, name: str) -> None:
    what = {
        PIPELINE: "replaces timeline.score",
        LEAKAGE_CHECK: "default: all of the config",
        EXPLAIN: "default: the last one that is scored",
        OUTCOMES: "judged again; default: those that are mature and not judged yet",
    }.get(name, "only these dates are written; default: all of the config")
    parser.add_argument("--as-of", type=date.fromisoformat, metavar="DATE", help=f"one as-of date, inclusive; {what}")
    parser.add_argument(
        "--from", type=date.fromisoformat, metavar="DATE", dest="first", help="first of several as-of dates"
    )
    parser.add_argument(
        "--to", type=date.fromisoformat, metavar="DATE", dest="last", help="last of several as-of dates"
    )
    parser.add_argument("--every", type=int, default=7, metavar="DAYS", help="days between them, counted from --to (7)")


def _add_own_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """What only one or two jobs are told."""
    if name == "bronze":
        parser.add_argument(
            "--continuous",
            type=_positive,
            metavar="SECONDS",
            help="go on and take what is new every so many seconds, until interrupted; default: what is there now",
        )
    if name == SCORE:
        parser.add_argument(
            "--incremental",
            action="store_true",
            help="compute only members whose features have changed since the champion scored them; the others keep"
            " their scores, a sample of which is computed anew and must be equal",
        )
    if name == SCORE_ONE:
        parser.add_argument(
            "--as-of",
            type=date.fromisoformat,
            metavar="DATE",
            help="as-of date, inclusive; default: the last scored one",
        )
    if name == SERVE:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)")
        parser.add_argument("--port", type=_port, default=8000, help="port to listen on (8000)")
    if name in (EXPLAIN, SCORE_ONE):
        parser.add_argument("member", metavar="MEMBER", help="id of the member, as the source or as the tables have it")
    if name == PROMOTE:
        parser.add_argument(
            "model_version", nargs="?", metavar="VERSION", help="a bundle of the registry; default: the champion before"
        )
    if name == "world":
        parser.add_argument("--pipeline", action="store_true", help="then run every stage on it, in the same session")
    if name in (PIPELINE, "train"):
        parser.add_argument(
            "--how", choices=("spark", "torchrun", "inline"), help="where to train; replaces training.how"
        )
    if name in (PIPELINE, MONITOR):
        parser.add_argument(
            "--fail-on-alert",
            action="store_true",
            help="end with exit code 6, when all is written, if there are alerts",
        )
    if name == DOCTOR:
        parser.add_argument(
            "--deep", action="store_true", help="also read every live file to its end, which finds damage inside of it"
        )


def _examine(parsed: argparse.Namespace) -> int:
    """The findings of the doctor on stdout; 1 when something is broken, the configuration included."""
    from memberlevel_spark.doctor.examine import examine, page_of
    from memberlevel_spark.doctor.finding import broken

    try:
        findings = examine(_configured(DOCTOR, parsed), deep=parsed.deep)
    except ConfigError as problem:
        findings = [broken(f"configuration: {problem}", "")]
    print(page_of(findings))
    return int(any(finding.state == "broken" for finding in findings))


def _description(name: str) -> str:
    if name == DOCTOR:
        return DOCTOR_CHECKS
    # Not for the doctor: pyspark, which it imports, may be what is missing.
    from memberlevel_spark.pipeline import STAGES, stage_named

    if name == PIPELINE:
        width = max(len(stage.name) for stage in STAGES)
        lines = [f"  {number:>2}  {stage.name:<{width}}  {stage.makes}" for number, stage in enumerate(STAGES, start=1)]
        return "Run every stage in order:\n\n" + "\n".join(lines)
    stage = stage_named(name)
    files = {"bronze": "the sources", "world": "the section world: of the configuration", PROMOTE: "the registry"}
    reads = ", ".join(stage.reads) or files.get(name, "the run folder")
    writes = ", ".join(stage.writes) or "nothing"
    return f"Make {stage.makes}.\n\n  reads   {reads}\n  writes  {writes}\n  one row per {stage.grain}"


def _is_dated(name: str) -> bool:
    if name == DOCTOR:
        return False
    from memberlevel_spark.pipeline import stage_named

    return name == PIPELINE or stage_named(name).dated


def _start_logging(verbose: bool) -> None:
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr, level=logging.WARNING)
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    # It logs, with a trace, every error of ours that passes through the JVM on its way to the user.
    logging.getLogger("py4j.clientserver").setLevel(logging.CRITICAL)


def _configured(name: str, parsed: argparse.Namespace) -> Config:
    overrides = list(parsed.set)
    dates = _dates(parsed)
    if name == PIPELINE and dates:
        overrides.append(f"timeline.score=[{', '.join(map(str, dates))}]")
    if getattr(parsed, "how", None):
        overrides.append(f"training.how={parsed.how}")
    return load_config(parsed.config[0], overrides, further=parsed.config[1:])


def _port(text: str) -> int:
    if not 1 <= (number := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"must be 1 to 65535: {number}")
    return number


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1: {number}")
    return number


def _dates(parsed: argparse.Namespace) -> tuple[date, ...] | None:
    as_of, first, last = (getattr(parsed, key, None) for key in ("as_of", "first", "last"))
    if as_of and (first or last):
        raise ConfigError("give either --as-of or --from and --to, not both: --as-of is one date. Drop one of them.")
    if bool(first) != bool(last):
        raise ConfigError("--from and --to belong together: only one was given. Give both, or --as-of for one date.")
    if first and last:
        if parsed.every < 1:
            raise ConfigError(f"--every must be at least one day: {parsed.every}. Give a positive number of days.")
        return every(first, last, parsed.every)
    return (as_of,) if as_of else None


def _run_without_session(stage, config: Config, parsed: argparse.Namespace) -> None:  # type: ignore[no-untyped-def]
    """A job that needs no Spark: nothing of it is imported but its Python side, and no JVM starts."""
    from memberlevel_spark.run import run_stage
    from memberlevel_spark.serving.asked import Asked

    given = {key: getattr(parsed, key) for key in ("member", "as_of", "host", "port") if hasattr(parsed, key)}
    asked = Asked(config, **given)
    if parsed.dry_run:
        print(_dry_run(asked, [stage]))
        return
    page = run_stage(stage.name, stage.load(), asked, recorded=False).page
    if page:
        print(page)


def _run(name: str, config: Config, parsed: argparse.Namespace) -> None:
    from memberlevel_spark.pipeline import STAGES, run_one, run_pipeline, stage_named
    from memberlevel_spark.run import Run
    from memberlevel_spark.session import get_session
    from memberlevel_spark.tables import DeltaTables

    alone = [] if name == PIPELINE else [stage_named(name)]
    if alone and not alone[0].session:
        return _run_without_session(alone[0], config, parsed)
    config.timeline.split.require_embargo(config.timeline.label)
    stamp = {"run_id": uuid.uuid4().hex[:12], "fingerprint": config_fingerprint(config), "job": name}
    tables = DeltaTables(get_session(config), str((config.shop_dir / "tables").absolute()), stamp)
    dates = None if name == PIPELINE else _dates(parsed)
    given = {key: getattr(parsed, argument, None) for key, argument in ASKED.items()}
    run = Run(config, tables, dates, **given)
    whole = not alone or getattr(parsed, "pipeline", False)
    if parsed.dry_run:
        print(_dry_run(run, [*alone, *(STAGES if whole else [])]))
        return
    for stage in alone:
        page = run_one(stage, run).page
        if page:
            print(page)
    if whole:
        run_pipeline(run)
        print(_summary(run))
    if getattr(parsed, "fail_on_alert", False):
        from memberlevel_spark.monitoring.alerts import require_no_alert

        require_no_alert(run)


def _dry_run(run, stages) -> str:  # type: ignore[no-untyped-def]
    """Inputs with the versions that would be pinned, and outputs; nothing is written."""
    from memberlevel_spark.ingest.stage import bronze_tables

    def expanded(names: Sequence[str]) -> list[str]:
        return [table for name in names for table in (bronze_tables(run) if name == "bronze_*" else [name])]

    def shown(table: str) -> str:
        return f"{table}@v{run.tables.version(table)}" if run.tables.exists(table) else f"{table} (missing)"

    lines = ["dry run, nothing is written"]
    for stage in stages:
        sources = [source.path for source in run.config.sources.values()]
        files = {"bronze": sources, "world": ["(the configuration)"]}.get(stage.name, ["(runs/)"])
        reads = [shown(table) for table in expanded(stage.reads)] or files
        lines += [f"{stage.name}", f"  reads   {', '.join(reads)}", f"  writes  {', '.join(expanded(stage.writes))}"]
        if run.as_of_dates and stage.dated:
            lines.append(f"  as of   {', '.join(map(str, run.as_of_dates))}")
    return "\n".join(lines)


def _summary(run) -> str:  # type: ignore[no-untyped-def]
    """The short table a run ends with, and where everything is."""
    from memberlevel_spark.evaluation.stage import load_evaluation
    from memberlevel_spark.report.terminal import accounting_table, reach_table, result_table
    from memberlevel_spark.run import stage_records

    evaluation = load_evaluation(run)
    return "\n".join(
        [
            "",
            accounting_table(stage_records(run)),
            "",
            f"Level {run.config.timeline.horizon_days} days ahead, {evaluation['num_members']:,} members,"
            f" out-of-time test as of {evaluation['test_as_of']}",
            "",
            result_table(evaluation["test"]),
            *(["", reach_table(evaluation["reach"])] if evaluation.get("reach") else []),
            "",
            f"tables   {run.shop_dir / 'tables'}",
            f"metrics  {run.shop_dir / 'metrics.json'}",
            f"report   {run.shop_dir / 'report.html'}",
        ]
    )


def _unexpected(problem: Exception, shop_dir: Path | None) -> int:
    """One line for the user, the whole story in a file; known Spark conditions get their own exit code."""
    from memberlevel_spark.spark_errors import explain

    known = explain(problem)
    path = (shop_dir or Path("out")) / "runs" / "error.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(traceback.format_exc(), encoding="utf-8")
    print(f"error: {known or _first_line(problem)} (whole story: {path})", file=sys.stderr)
    return known.exit_code if known else MemberLevelError.exit_code


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0] if lines else 'no message'}"
