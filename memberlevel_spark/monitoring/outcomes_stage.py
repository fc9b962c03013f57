"""The stage outcomes: scores of every model version against what happened, once their labels are mature."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import and_, or_

import yaml
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.examples.labels import KEY, LabelWindows
from memberlevel_spark.features.vocabulary_stage import profile_of
from memberlevel_spark.forecast_schemas import MIGRATIONS, OUTCOMES
from memberlevel_spark.ingest.money import shop_digits
from memberlevel_spark.levels.stage import decided_through, read_levels
from memberlevel_spark.monitoring.export import write_metrics
from memberlevel_spark.monitoring.judgement import ALL, Standards
from memberlevel_spark.monitoring.migration import RUN, build_moves
from memberlevel_spark.monitoring.outcomes import Sources, build_happened, build_matured, build_outcomes
from memberlevel_spark.registry.champion import registry_dir
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import TableContract
from memberlevel_spark.tables import Slice, Written

SCORES = "member_scores"
READ = (SCORES, "member_features", "member_days", "member_levels")


@dataclass(frozen=True, order=True)
class ScoredRun:
    """What one model version said as of one date: members and levels of its scores."""

    as_of_date: date
    model_version: str
    num_members: int
    num_levels: int

    @property
    def key(self) -> tuple[date, str]:
        """As-of date and model version."""
        return self.as_of_date, self.model_version


def run_outcomes(run: Run) -> StageResult:
    """Judge what is mature and not judged yet, or the dates that are asked for; each run's slices are replaced.

    A label is mature when data and levels reach its last day. Dates that are not, and versions trained for another
    level programme or horizon, are told in the note and left out.
    """
    if not run.tables.exists(SCORES):
        return StageResult(RowCounts(0, 0), {}, {}, "nothing to judge: nobody was scored yet")
    read = {name: run.tables.version(name) for name in READ}
    scored = _scored(run.tables.read(SCORES, read[SCORES]))
    through = min(run.config.timeline.data_through, decided_through(run))
    wanted, note = _wanted(run, scored, through)
    if not wanted:
        return StageResult(RowCounts(0, 0), read, {}, note)
    dates = sorted({each.as_of_date for each in wanted})
    timeline, config = run.config.timeline, run.config
    windows = LabelWindows(timeline.label, timeline.inactive, through)
    profile = [feature for feature in profile_of(run) if feature.kind == "category"]
    names = [level.name for level in config.levels.programme]
    standards = Standards(names, profile, config.evaluation.min_slice_members, 10.0 ** shop_digits(config.money))
    scores = run.tables.read(SCORES, read[SCORES]).where(_is_any_of(wanted))
    levels = read_levels(run, read["member_levels"])
    features, member_days = (run.tables.read(name, read[name]) for name in ("member_features", "member_days"))
    sources = Sources(features, member_days, levels)
    happened = build_happened(scores, sources, dates=dates, windows=windows)
    matured = build_matured(scores, happened, sources, dates=dates, windows=windows, profile=profile)
    # Outcomes come last: a run that is in them has its migrations too.
    moves = _write(run, MIGRATIONS, build_moves(matured, len(names)), wanted)
    judged = _write(run, OUTCOMES, build_outcomes(matured, standards), wanted)
    write_metrics(run)
    counts = RowCounts(
        sum(each.num_members for each in wanted),
        _num_judged(run, judged.version, wanted),
        filtered=scores.join(happened, [*KEY], "left_anti").count(),
    )
    written = {MIGRATIONS.name: moves.version, OUTCOMES.name: judged.version}
    return StageResult(counts, read, written, note)


def _scored(scores: DataFrame) -> list[ScoredRun]:
    """Every as-of date and model version there are scores of, in this order."""
    found = scores.groupBy(*RUN).agg(F.count("*").alias("members"), F.max(F.size("p_level")).alias("levels"))
    return sorted(ScoredRun(*row) for row in found.select(*RUN, "members", "levels").collect())


def _wanted(run: Run, scored: Sequence[ScoredRun], through: date) -> tuple[list[ScoredRun], str]:
    """What to judge now, and a word on it and on what is left out."""
    label, asked = run.config.timeline.label, run.as_of_dates
    own = [each for each in scored if asked is None or each.as_of_date in asked]
    judged = set() if asked is not None else _judged_before(run)
    foreign = {each.model_version for each in own if not _is_ours(run, each)}
    ours = [each for each in own if each.model_version not in foreign]
    wanted = [each for each in ours if label.label_date(each.as_of_date) <= through and each.key not in judged]
    waiting = sorted({each.as_of_date for each in ours if label.label_date(each.as_of_date) > through})
    lacking = sorted({*(asked or ())} - {each.as_of_date for each in scored})
    told = [f"{len(wanted)} run(s) of {len({each.as_of_date for each in wanted})} date(s) judged"]
    if not wanted:
        told = [f"nothing to judge: {len(judged)} run(s) were judged before, data and levels reach {through}"]
    if waiting:
        told.append(f"not mature yet: {_listed(waiting)}, the first on {label.label_date(waiting[0])}")
    if lacking:
        told.append(f"no scores as of {_listed(lacking)}")
    if foreign:
        told.append(f"left out, of another level programme or horizon: {_listed(sorted(foreign))}")
    return wanted, "; ".join(told)


def _judged_before(run: Run) -> set[tuple[date, str]]:
    """Nothing, where one of the tables is missing or has other columns than now."""
    if not (run.tables.fits(OUTCOMES) and run.tables.fits(MIGRATIONS)):
        return set()
    return {(row[0], row[1]) for row in run.tables.read(OUTCOMES.name).select(*RUN).distinct().collect()}


def _is_ours(run: Run, scored: ScoredRun) -> bool:
    """Whether the version was trained for the present levels and horizon; without its bundle the number of levels
    decides."""
    config, folder = run.config, registry_dir(run) / scored.model_version
    if not (folder / "levels.json").is_file():
        return scored.num_levels == len(config.levels.programme)
    if (folder / "levels.json").read_bytes() != config.levels.model_dump_json().encode():
        return False
    trained_for = yaml.safe_load((folder / "config.yaml").read_bytes())["timeline"]
    now = {"gap_days": config.timeline.gap_days, "horizon_days": config.timeline.horizon_days}
    return {name: trained_for[name] for name in now} == now


def _write(run: Run, contract: TableContract, frame: DataFrame, wanted: Sequence[ScoredRun]) -> Written:
    if run.as_of_dates is None and not run.tables.fits(contract):
        return run.tables.replace(contract, frame)
    return run.tables.replace_slice(contract, frame, *_slices(wanted))


def _slices(wanted: Sequence[ScoredRun]) -> list[Slice]:
    """A slice for each date: its versions may be others than those of the next one."""
    versions: dict[date, list[str]] = {}
    for each in wanted:
        versions.setdefault(each.as_of_date, []).append(each.model_version)
    return [{"as_of_date": [day], "model_version": of_day} for day, of_day in versions.items()]


def _is_any_of(wanted: Sequence[ScoredRun]) -> Column:
    return reduce(or_, [_is_in(each) for each in _slices(wanted)])


def _is_in(part: Slice) -> Column:
    return reduce(and_, [F.col(column).isin(list(values)) for column, values in part.items()])


def _num_judged(run: Run, version: int, wanted: Sequence[ScoredRun]) -> int:
    """Members that the table says were judged."""
    rows = run.tables.read(OUTCOMES.name, version).where(_is_any_of(wanted))
    whole = rows.where((F.col("dimension") == ALL) & (F.col("metric") == "accuracy"))
    return int(whole.agg(F.coalesce(F.sum("members"), F.lit(0))).collect()[0][0])


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
