"""The comparison of two shops of the year, on tables of a few rows."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.year.calendar import year_of
from tests.year.compare import Difference, compare
from tests.year.shop import YearShop

SCHEMA = "member_id string, level int, _file string"


def shop(spark: SparkSession, out: Path, name: str, tables: dict[str, list[tuple[str, int, str]]]) -> YearShop:
    made = YearShop(year_of(6), out, out, name)
    for table, rows in tables.items():
        spark.createDataFrame(rows, SCHEMA).write.format("delta").save(str(made.folder / "tables" / table))
    return made


def test_rows_are_counted_as_often_as_they_are_there_and_their_file_does_not_matter(
    spark: SparkSession, tmp_path: Path
):
    one = shop(spark, tmp_path, "one", {"events": [("a", 1, "x"), ("a", 1, "x"), ("b", 2, "x")]})
    other = shop(spark, tmp_path, "other", {"events": [("a", 1, "y"), ("b", 3, "x")]})
    assert compare(spark, one, other) == [Difference("events", 1, 2, 1)]


@pytest.mark.parametrize(
    ("table", "num_more", "allowed"),
    [("quarantine", 60, True), ("quarantine", 59, False), ("quarantine", 0, False), ("member_scores", 60, False)],
)
def test_a_row_for_each_broken_line_is_there_where_that_is_declared_and_no_other(
    spark: SparkSession, tmp_path: Path, table: str, num_more: int, allowed: bool
):
    one = shop(spark, tmp_path, "one", {table: [("a", 1, "x"), *[("b", 2, "x")] * num_more]})
    other = shop(spark, tmp_path, "other", {table: [("a", 1, "x")]})
    (found,) = compare(spark, one, other)
    assert (found.only_disturbed, found.only_undisturbed, found.allowed) == (num_more, 0, allowed)
    (swapped,) = compare(spark, other, one)
    assert not swapped.allowed
