"""The job explain: everything that is kept of one member's forecast, as a page of text."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.ingest.identifiers import pseudonym_of
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.report.member_page import Programme, member_page
from memberlevel_spark.run import RowCounts, Run, StageResult

READ = ("member_scores", "member_reasons", "member_advice")


def run_explain(run: Run) -> StageResult:
    """Tell what the champion says of ``run.member``, as of the given date or the last scored one.

    The id may be that of the source, which is made a pseudonym with the shop's key, or the pseudonym. Errors:
    ArtefactError when the member has no score.
    """
    assert run.member is not None, "the command line asks for one"
    champion = load_champion(run).version
    read = {name: run.tables.version(name) for name in READ}
    member_id = pseudonym_of(run.config.pseudonyms, run.member)
    tables = {name: run.tables.read(name, version) for name, version in read.items()}
    own = {name: _rows_of(table, {run.member, member_id}, champion) for name, table in tables.items()}
    scored = own["member_scores"]
    dates = run.as_of_dates or tuple(row["last"] for row in scored.agg(F.max("as_of_date").alias("last")).collect())
    as_of: date | None = dates[-1]
    found = {name: [row.asDict(recursive=True) for row in _on(rows, as_of).collect()] for name, rows in own.items()}
    if not found["member_scores"]:
        when = f" as of {as_of}" if as_of else ""
        raise ArtefactError(
            f"the champion has no score of this member{when}: {champion}. Check the id as the source writes it, and run"
            " score and advise for the date."
        )
    assert as_of is not None
    programme = Programme.of(run.config, as_of)
    reasons = found["member_reasons"][0] if found["member_reasons"] else None
    page = member_page(found["member_scores"][0], reasons, found["member_advice"], programme)
    return StageResult(RowCounts(0, 0), read, {}, page=page)


def _rows_of(table: DataFrame, ids: set[str], champion: str) -> DataFrame:
    return table.where(F.col("member_id").isin(sorted(ids)) & (F.col("model_version") == champion))


def _on(rows: DataFrame, as_of: date | None) -> DataFrame:
    return rows.where(F.col("as_of_date") == F.lit(as_of))
