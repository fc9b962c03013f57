"""Two shops of the year, table by table: the same rows, but for those of a fault that is declared to matter."""

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tests.year.shop import YearShop

# When and from which file a row came is no content, nor in which batch.
UNEQUAL_BY_NATURE = ("_file", "_file_ts", "_batch", "_ingested_at", "batch")
# Where the day of broken lines leaves a row for each of them in the disturbed shop, and why.
DECLARED = {
    "bronze_orders": "the broken lines, as they came",
    "quarantine": "the broken lines, each with its reason",
}
# Written once for each run of silver, and of runs the two shops have different numbers.
RECORDS_OF_RUNS = ("quality_results",)


@dataclass(frozen=True)
class Difference:
    """Rows of a table in both shops, and those that only one of them has."""

    table: str
    rows: int
    only_disturbed: int
    only_undisturbed: int
    declared: int = 0  # how many rows only the disturbed shop has to have

    @property
    def allowed(self) -> bool:
        """No row is lost, and exactly those are there in addition that are declared."""
        return not self.only_undisturbed and self.only_disturbed == self.declared


def compare(spark: SparkSession, disturbed: YearShop, undisturbed: YearShop) -> list[Difference]:
    """Every table that either of them has, by name, but for records of runs."""
    folders = [shop.folder / "tables" for shop in (disturbed, undisturbed)]
    names = sorted(
        {path.parent.name for folder in folders for path in folder.glob("*/_delta_log")} - {*RECORDS_OF_RUNS}
    )
    declared = dict.fromkeys(DECLARED, disturbed.year.faults.num_broken)
    return [
        _difference(name, *(_rows(spark, str(folder / name)) for folder in folders), declared.get(name, 0))
        for name in names
    ]


def _rows(spark: SparkSession, path: str) -> DataFrame:
    table = spark.read.format("delta").load(path)
    kept = [column for column in sorted(table.columns) if column not in UNEQUAL_BY_NATURE]
    return table.select(F.to_json(F.struct(*kept)).alias("row"))


def _difference(name: str, disturbed: DataFrame, undisturbed: DataFrame, declared: int) -> Difference:
    both = (
        disturbed.groupBy("row")
        .agg(F.count("*").alias("a"))
        .join(undisturbed.groupBy("row").agg(F.count("*").alias("b")), "row", "full")
    )
    a, b = (F.coalesce(column, F.lit(0)) for column in ("a", "b"))
    sums = [F.sum(F.least(a, b)), F.sum(F.greatest(a - b, F.lit(0))), F.sum(F.greatest(b - a, F.lit(0)))]
    return Difference(name, *(int(number or 0) for number in both.agg(*sums).collect()[0]), declared)
