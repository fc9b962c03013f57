"""What became of the year: what the forecasts were worth, when the alarm was raised, which tables are equal."""

from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.registry.bundle import read_alias
from tests.year.calendar import Year
from tests.year.compare import DECLARED, Difference, compare
from tests.year.shop import YearShop

METRICS = ("accuracy", "persistence_accuracy", "log_loss", "upgrade_auc", "spend_bias")


def verdict(spark: SparkSession, disturbed: YearShop, undisturbed: YearShop) -> tuple[str, bool]:
    """A page of text, and whether all is as it should be."""
    year, differences = disturbed.year, compare(spark, disturbed, undisturbed)
    alarms = _alarms(spark, disturbed)
    right = bool(alarms) and min(alarms) == year.week_of(year.drifts_from)
    models = [_models(shop.folder / "registry") for shop in (disturbed, undisturbed)]
    equal = all(each.allowed for each in differences)
    lines = [
        *_outcome_table(spark, disturbed),
        "",
        *_alarm_table(year, alarms),
        "",
        *_difference_table(differences),
        "",
        f"{_word(equal)}  every table equals that of the undisturbed year, but for what is declared",
        f"{_word(models[0] == models[1])}  the same {len(models[0][0])} models, the same champion: {models[0][1]}",
        f"{_word(right)}  the first warning of features or scores is raised in the week of the planted drift",
    ]
    return "\n".join(lines), equal and right and models[0] == models[1]


def _word(good: bool) -> str:
    return "ok    " if good else "FAILED"


def _models(registry: Path) -> tuple[set[str], str | None]:
    bundles = {path.parent.name for path in registry.glob("*/manifest.json")}
    return bundles, read_alias(registry, "champion")


def _outcome_table(spark: SparkSession, shop: YearShop) -> list[str]:
    """One line for each week whose forecasts are judged: means over its days."""
    rows = spark.read.format("delta").load(str(shop.folder / "tables" / "outcomes"))
    overall = rows.where((F.col("dimension") == "all") & F.col("metric").isin(*METRICS)).collect()
    found: dict[tuple[int, str], list[float]] = {}
    for row in overall:
        found.setdefault((shop.year.week_of(row["as_of_date"]), row["metric"]), []).append(row["value"])
    lines = ["forecasts of", f"week  days  {'  '.join(f'{name:>20}' for name in METRICS)}"]
    for week in sorted({week for week, _ in found}):
        values = [found[week, name] for name in METRICS]
        shown = "  ".join(f"{sum(each) / len(each):>20.3f}" for each in values)
        lines.append(f"{week:>4}  {len(values[0]):>4}  {shown}")
    return lines


def _alarms(spark: SparkSession, shop: YearShop) -> dict[int, set[str]]:
    """Of each week with a warning or an alert of features or scores, what it is about."""
    rows = spark.read.format("delta").load(str(shop.folder / "tables" / "alerts"))
    drift = rows.where(F.col("metric").rlike("^(feature|score)_"))
    found: dict[int, set[str]] = {}
    for row in drift.select("as_of_date", "subject").distinct().collect():
        found.setdefault(shop.year.week_of(row["as_of_date"]), set()).add(row["subject"])
    return found


def _alarm_table(year: Year, alarms: dict[int, set[str]]) -> list[str]:
    lines = [
        f"warnings and alerts of features and scores; the purchases fall from week {year.week_of(year.drifts_from)} on"
    ]
    for week in range(1, year.num_weeks + 1):
        subjects = sorted(alarms.get(week, ()))
        more = f" and {len(subjects) - 5} more" if len(subjects) > 5 else ""
        lines.append(f"week {week}  {', '.join(subjects[:5]) or '-'}{more}")
    return lines


def _difference_table(differences: Sequence[Difference]) -> list[str]:
    lines = [f"{'table':<24}{'equal rows':>12}{'only disturbed':>16}{'only undisturbed':>18}"]
    for each in differences:
        why = f"  declared: {DECLARED[each.table]}" if each.table in DECLARED else ""
        lines.append(f"{each.table:<24}{each.rows:>12,}{each.only_disturbed:>16,}{each.only_undisturbed:>18,}{why}")
    return lines
