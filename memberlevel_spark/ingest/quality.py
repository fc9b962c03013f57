"""Quality: what became of every row of every source, and what the rules of the YAML found.

A tally is a dict of counts of one source's rows for one canonical table: by status and by rule. Results go to
``quality_results``; a limit that is passed stops the run before it writes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config.ingest import QualityConfig, RuleConfig
from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.ingest.canonical import FILTERED, GOOD, LATE, QUARANTINED

STATUSES = (GOOD, QUARANTINED, FILTERED, LATE)
Tally = Mapping[str, int]


@dataclass(frozen=True)
class Result:
    """One row of ``quality_results``, but for ``through_batch``."""

    source: str
    target: str
    rule: str
    severity: str
    num_rows: int
    num_broken: int
    max_share: float | None

    @property
    def counted(self) -> tuple[str, str, str, str]:
        """The columns before ``through_batch``."""
        return self.source, self.target, self.rule, self.severity

    @property
    def judged(self) -> tuple[int, int, float, float | None, bool]:
        """The columns after ``through_batch``."""
        return self.num_rows, self.num_broken, self.share, self.max_share, self.passed

    @property
    def share(self) -> float:
        """Share of the rows that broke the rule."""
        return self.num_broken / self.num_rows if self.num_rows else 0.0

    @property
    def passed(self) -> bool:
        """Whether the share is within its limit, or has none."""
        return self.max_share is None or self.share <= self.max_share


def tally_columns(rules: Iterable[RuleConfig]) -> list[Column]:
    """The aggregates of a tally over mapped rows."""
    return [
        *[F.count_if(F.col("status") == status).alias(status) for status in STATUSES],
        *[F.count_if(F.col(f"breaks_{rule.name}")).alias(rule.name) for rule in rules],
    ]


def num_rows(tally: Tally) -> int:
    """All rows of a tally."""
    return sum(tally[status] for status in STATUSES)


def rule_results(source: str, table: str, tally: Tally, quality: QualityConfig) -> list[Result]:
    """What the rules of the YAML found in one source's rows for one table, and the share set aside in all."""
    results = [
        Result(source, table, rule.name, rule.severity, num_rows(tally) - tally[FILTERED], tally[rule.name], rule.limit)
        for rule in quality.rules
        if rule.table == table
    ]
    limit = quality.max_quarantine_share
    return [
        *results,
        Result(source, table, "quarantined", "quarantine", num_rows(tally), tally[QUARANTINED], limit),
        Result(source, table, "late", "late", num_rows(tally), tally[LATE], None),
    ]


def require_passed(results: Iterable[Result]) -> None:
    """Errors: DataQualityError that names every rule whose share of broken rows passed its limit."""
    failed = [result for result in results if not result.passed]
    if not failed:
        return
    words = [
        f"{result.rule}: {result.num_broken:,} of {result.num_rows:,} rows of {result.source} for {result.target}"
        f" (limit {result.max_share:.2%})"
        for result in failed
    ]
    raise DataQualityError(
        f"too many rows break a rule: {'; '.join(words)}. See which with jobs.silver --set"
        " quality.max_quarantine_share=1 in the table quarantine, then mend the source, its map or the rule."
    )


def built_in_counts(quarantine: DataFrame) -> DataFrame:
    """Rejected rows by source, target and rule."""
    return quarantine.groupBy("source", "target", "rule").agg(F.count("*").alias("num_broken"))
