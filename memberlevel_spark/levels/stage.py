"""The stage levels: replay the rules over all members."""

from pyspark.sql import functions as F

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.levels.replay import build_member_levels
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import MEASURES, MEMBER_LEVELS


def level_rules(run: Run) -> LevelRules:
    """The level rules of the configuration."""
    return LevelRules.of(run.config.levels, MEASURES)


def run_levels(run: Run) -> StageResult:
    """Write ``member_levels``; every member must hold a level. Errors: DataQualityError when one holds none."""
    read = {name: run.tables.version(name) for name in ("members", "member_days")}
    members, member_days = (run.tables.read(name, version) for name, version in read.items())
    through = run.config.timeline.data_through
    levels = build_member_levels(members, member_days, level_rules(run), through=through)
    commit = run.tables.replace(MEMBER_LEVELS, levels)
    written = run.tables.read("member_levels", commit.version)
    known = members.where(F.col("valid_from") <= F.lit(through)).select("member_id").distinct().count()
    held = written.where(F.col("valid_to").isNull()).count()
    if known != held:
        raise DataQualityError(f"members without one current level: {known - held} of {known}. Run levels again.")
    changes = commit.rows - held
    note = f"{held:,} members, {changes:,} level changes"
    # Tiles become level changes: what comes out is not a subset of what goes in.
    return StageResult(RowCounts(known, held), read, {"member_levels": commit.version}, note)
