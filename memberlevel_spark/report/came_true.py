"""Whether earlier forecasts came true, for the report; made in Spark.

In: ``outcomes`` and ``migrations``. Out: a few plain values for the report.
"""

from datetime import date
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.monitoring.judgement import ALL, OUTCOME_METRICS, TENTHS_OF, TENTHS_OF_SPEND, tenth_dimension
from memberlevel_spark.report.model import MaturedMoves

TENTHS = [tenth_dimension(name) for name in (*TENTHS_OF, TENTHS_OF_SPEND)]


def came_true(
    outcomes: DataFrame, migrations: DataFrame, *, since: date, champion: str, num_levels: int
) -> dict[str, Any]:
    """``came_true``, ``came_true_tenths`` and ``moves`` of ReportData, of as-of dates from ``since`` on.

    The last two are of the champion's newest date that was judged, or of the newest at all where it has none.
    ``moves`` is None where these are moves between other levels than now.
    """
    rows = [row.asDict() for row in over_time(outcomes.where(F.col("as_of_date") >= F.lit(since))).collect()]
    if not rows:
        return {"came_true": [], "came_true_tenths": [], "moves": None}
    own = [row for row in rows if row["model_version"] == champion]
    newest = (own or rows)[0]
    is_newest = (F.col("as_of_date") == F.lit(newest["as_of_date"])) & (
        F.col("model_version") == F.lit(newest["model_version"])
    )
    tenths = outcomes.where(is_newest & F.col("dimension").isin(TENTHS)).orderBy("dimension", "slice", "metric")
    moves = [row.asDict() for row in migrations.where(is_newest).collect()]
    return {
        "came_true": rows,
        "came_true_tenths": [row.asDict() for row in tenths.collect()],
        "moves": _matured_moves(newest, moves, num_levels),
    }


def over_time(outcomes: DataFrame) -> DataFrame:
    """A row per as-of date and model version with every metric of all members as a column, the newest first."""
    whole = outcomes.where(F.col("dimension") == ALL).groupBy("as_of_date", "model_version")
    metrics = [F.max(F.when(F.col("metric") == name, F.col("value"))).alias(name) for name in OUTCOME_METRICS]
    return whole.agg(F.max("members").alias("members"), *metrics).orderBy(
        F.col("as_of_date").desc_nulls_last(), F.col("model_version").asc_nulls_last()
    )


def _matured_moves(newest: dict[str, Any], moves: list[dict[str, Any]], num_levels: int) -> MaturedMoves | None:
    found = {(row["level_from"], row["level_to"]): row for row in moves}
    if len(found) != num_levels**2:
        return None

    def matrix(column: str) -> list[list[float]]:
        return [[found[now, then][column] for then in range(num_levels)] for now in range(num_levels)]

    falls = [row for (now, then), row in found.items() if then < now]
    return MaturedMoves(
        as_of_date=newest["as_of_date"],
        model_version=newest["model_version"],
        expected=matrix("members_expected"),
        realised=matrix("members_realised"),
        num_fallen=sum(row["members_realised"] for row in falls),
        at_risk_cents=sum(row["at_risk_cents"] for row in falls),
    )
