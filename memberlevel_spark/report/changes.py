"""What changed since the last scored date, for the report; sums are made in Spark.

In: ``member_scores`` and ``alerts``. Out: a row per headline number, then and now.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# How far back an earlier date is looked for.
MOST_DAYS = 366
# Sums of rounded decimals do not depend on the order of the partitions.
EXACT = "decimal(24,9)"
RUN = ("as_of_date", "model_version")
COUNTED = ("members", "top_now", "top_expected", "up", "down", "no_order", "orders")


def build_headlines(scores: DataFrame, as_of: date) -> DataFrame:
    """The headline numbers of every scored date in the year up to the as-of date: one row per date and model version.

    Columns: ``RUN``, ``COUNTED`` (sums over members) and spend_cents.
    """
    since = as_of - timedelta(days=MOST_DAYS)
    some = scores.where(F.col("as_of_date").between(F.lit(since), F.lit(as_of)))
    top = F.size("p_level") - 1
    sums = {
        "top_now": (F.col("level_now") == top).cast("int"),
        "top_expected": F.get("p_level", top),
        "up": F.col("p_up"),
        "down": F.col("p_down"),
        "no_order": F.col("p_churn"),
        "orders": F.col("expected_orders"),
        "spend_cents": F.col("expected_spend_cents"),
    }
    added = [F.sum(column.cast(EXACT)).cast("double").alias(name) for name, column in sums.items()]
    return some.groupBy(*RUN).agg(F.count("*").cast("double").alias("members"), *added)


def changes(
    headlines: Sequence[Mapping[str, Any]], alerts: Mapping[tuple[date, str], int], *, as_of: date, champion: str
) -> dict[str, Any]:
    """``changes`` and ``compared_with`` of ReportData: the champion as of the date beside the newest date before it.

    On that date the champion's own scores count; where it has none, those of the version with the most members.
    ``alerts``: their number by date and model version, as far as it was monitored.
    """
    now = next((row for row in headlines if _run(row) == (as_of, champion)), None)
    earlier = [row for row in headlines if row["as_of_date"] < as_of]
    if now is None or not earlier:
        return {"changes": [], "compared_with": None}
    newest = max(row["as_of_date"] for row in earlier)
    then = max(
        (row for row in earlier if row["as_of_date"] == newest),
        key=lambda row: (row["model_version"] == champion, row["members"], row["model_version"]),
    )
    rows = [{"number": name, "before": then[name], "now": now[name]} for name in (*COUNTED, "spend_cents")]
    rows.append({"number": "alerts", "before": alerts.get(_run(then)), "now": alerts.get(_run(now))})
    return {"changes": rows, "compared_with": _run(then)}


def _run(row: Mapping[str, Any]) -> tuple[date, str]:
    return row["as_of_date"], row["model_version"]
