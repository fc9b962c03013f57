"""The stage levels: decide the days that are new by the present rules, and keep what other rules decided."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError, DataQualityError, first_five
from memberlevel_spark.levels.batches import manual_columns, with_histories
from memberlevel_spark.levels.replay import ReplayPlan, build_decisions, build_member_levels, build_stretches, holds_on
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.run import RowCounts, Run, Shop, StageResult
from memberlevel_spark.schemas import MEASURES, MEMBER_LEVELS
from memberlevel_spark.tables import Written
from memberlevel_spark.timeline import ONE_DAY, day_number

STAMP = "levels"
GONE = "gone"


def level_rules(shop: Shop) -> LevelRules:
    """The level rules of the configuration."""
    return LevelRules.of(shop.config.levels, MEASURES)


def read_levels(run: Run, version: int) -> DataFrame:
    """What the present rules decided. Errors: ArtefactError when the table has the levels of other rules only."""
    decided_through(run)
    return run.tables.read("member_levels", version).where(F.col("rules_version") == level_rules(run).version)


def decided_through(run: Run) -> date:
    """The last day whose levels the present rules decided. Errors: ArtefactError when they decided none."""
    rules = level_rules(run)
    stamp = _last_stamp(run, rules)
    if stamp is None:
        raise ArtefactError(
            f"member_levels holds no levels by the present rules: {rules.version}. Run the stage levels."
        )
    return date.fromisoformat(stamp["decided_through"])


def run_levels(run: Run) -> StageResult:
    """Write ``member_levels``: from the first day that changed since these rules decided last, or all days.

    Errors: DataQualityError when a member holds no level, or a profile gives a level by hand that does not exist.
    """
    read = {name: run.tables.version(name) for name in ("members", "member_days")}
    members, member_days = (run.tables.read(name, version) for name, version in read.items())
    rules, through = level_rules(run), run.config.timeline.data_through
    members = members.where(F.col("known_from") <= F.lit(through))
    _require_known_manual_levels(members, rules)
    stamped = {"rules_version": rules.version, "decided_through": str(through), **read}
    last = _last_stamp(run, rules)
    if last == stamped:
        return StageResult(RowCounts(0, 0), read, {}, "nothing new")
    since = _first_changed_day(run, last)
    decision = _Decision(run, rules, members, member_days, through, stamped)
    commit = decision.all_days() if since is None else decision.days_from(since)
    written = run.tables.read("member_levels", commit.version).where(F.col("rules_version") == rules.version)
    known = members.select("member_id").distinct().count()
    row = written.agg(F.count_if(F.col("valid_to").isNull()), F.count("*")).first()
    held, stretches = row if row else (0, 0)
    if known != held:
        raise DataQualityError(f"members without one current level: {known - held} of {known}. Run levels again.")
    days = "all days" if since is None else f"days from {since}"
    note = f"{held:,} members, {stretches - held:,} level changes, {days} by rules {rules.version}"
    # Tiles become level changes: what comes out is not a subset of what goes in.
    return StageResult(RowCounts(known, held), read, {"member_levels": commit.version}, note)


@dataclass(frozen=True)
class _Decision:
    """One run over the pinned tables."""

    run: Run
    rules: LevelRules
    members: DataFrame
    member_days: DataFrame
    through: date
    stamped: dict[str, object]

    def all_days(self) -> Written:
        tables = self.run.tables.with_stamp(**{STAMP: self.stamped})
        levels = build_member_levels(self.members, self.member_days, self.rules, through=self.through)
        if not tables.fits(MEMBER_LEVELS):
            return tables.replace(MEMBER_LEVELS, levels)
        return tables.replace_slice(MEMBER_LEVELS, levels, {"rules_version": [self.rules.version]})

    def days_from(self, first: date) -> Written:
        """Members whose first day or manual levels may have changed are decided anew, others from ``first`` on."""
        before = self.run.tables.read("member_levels").where(F.col("rules_version") == self.rules.version)
        anew = self._decided_anew(before, first)
        others = self.members.join(anew, "member_id", "left_anti")
        rest = before.join(anew, "member_id", "left_anti").where(F.col("valid_from") < F.lit(first))
        kept = rest.join(others.select("member_id").distinct(), "member_id", "left_semi")
        decisions = self._decisions(others, first, kept).unionByName(
            self._decisions(self.members.join(anew, "member_id", "left_semi"), None)
        )
        after = build_stretches(kept.select(*decisions.columns).unionByName(decisions), self.rules)
        key = list(MEMBER_LEVELS.key)
        gone = before.join(after, key, "left_anti").withColumn(GONE, F.lit(True))
        content = F.to_json(F.struct(*[name for name in after.columns if name not in key]))
        same = before.select(*key, content.alias("content_before"))
        is_new = ~F.coalesce(content == F.col("content_before"), F.lit(False))
        changed = after.join(same, key, "left").where(is_new).select(*after.columns, F.lit(False).alias(GONE))
        tables = self.run.tables.with_stamp(**{STAMP: self.stamped})
        return tables.merge(MEMBER_LEVELS, changed.unionByName(gone), gone=GONE)

    def _decisions(self, members: DataFrame, first: date | None, kept: DataFrame | None = None) -> DataFrame:
        tiles = self.member_days
        if first is not None:
            tiles = tiles.where(F.col("day") >= F.lit(first - timedelta(days=self.rules.memory_days + 1)))
        histories = with_histories(members, tiles, self.rules.metrics, self.rules)
        if first is None or kept is None:
            return build_decisions(histories, ReplayPlan(self.rules, day_number(self.through)))
        last = first - ONE_DAY
        held = kept.where(holds_on(F.lit(last))).select(
            "member_id", F.col("level").alias("held_level"), F.col("own_level").alias("held_own")
        )
        plan = ReplayPlan(self.rules, day_number(self.through), day_number(last))
        return build_decisions(histories.join(held, "member_id", "left"), plan)

    def _decided_anew(self, before: DataFrame, first: date) -> DataFrame:
        """Members known before ``first`` whose first day is another than it was, or who may have levels by hand."""
        known = self.members.groupBy("member_id").agg(F.min("known_from").alias("known_from"))
        joined = before.groupBy("member_id").agg(F.min("valid_from").alias("joined"))
        moved = known.join(joined, "member_id", "left").where(F.col("known_from") < F.lit(first))
        anew = moved.where(~F.col("known_from").eqNullSafe(F.col("joined"))).select("member_id")
        if self.rules.config.manual is not None:
            level, _ = manual_columns(self.rules)
            by_hand = before.where(F.col("level") != F.col("own_level")).select("member_id")
            anew = anew.unionAll(self.members.where(level.isNotNull()).select("member_id")).unionAll(by_hand)
        return anew.distinct()


def _last_stamp(run: Run, rules: LevelRules) -> dict[str, Any] | None:
    """What the last run by these rules said of itself; None when there was none."""
    stamps = (commit.stamp.get(STAMP, {}) for commit in run.tables.commits("member_levels"))
    return next((stamp for stamp in stamps if stamp.get("rules_version") == rules.version), None)


def _first_changed_day(run: Run, last: dict[str, Any] | None) -> date | None:
    """The first day whose levels are not decided by the last run and the present tiles; None when all days are."""
    if last is None or not run.tables.fits(MEMBER_LEVELS):
        return None
    decided_through = date.fromisoformat(last["decided_through"])
    changed = run.tables.changed_days("member_days", after=last["member_days"])
    if changed is None or decided_through > run.config.timeline.data_through:
        return None
    return min([*changed, decided_through + ONE_DAY])


def _require_known_manual_levels(members: DataFrame, rules: LevelRules) -> None:
    manual = rules.config.manual
    if manual is None:
        return
    level, until = manual_columns(rules)
    given = F.element_at("attributes", manual.level)
    end = F.element_at("attributes", manual.until)
    wrong = members.where((given.isNotNull() & level.isNull()) | (end.isNotNull() & until.isNull()))
    found = [f"{row[0]} until {row[1]}" for row in wrong.select(given, end).distinct().limit(6).collect()]
    if found:
        raise DataQualityError(
            f"profiles give levels by hand that cannot be read: {first_five(found)}. Use one of"
            f" {', '.join(rules.names)}, and a date such as 2024-12-31; mend the profiles or levels.manual."
        )
