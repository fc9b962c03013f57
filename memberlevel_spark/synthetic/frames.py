"""The world as frames: members are made in the tasks, from their numbers alone.

In: the plan. Out: one row per line of a file (LINES), or per row of a truth table. The rows are the same for any number
of tasks and any batch size.
"""

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.schemas import INT, LONG, STRING
from memberlevel_spark.synthetic.defect_lines import HEADER_POSITION, defect_lines, giant_lines
from memberlevel_spark.synthetic.defects import HUGE_CHARACTERS, HUGE_MARK
from memberlevel_spark.synthetic.files import HEADERS, ONE_FILE, file_names, member_lines, product_lines, rate_lines
from memberlevel_spark.synthetic.members import Ints
from memberlevel_spark.synthetic.plan import DAY_SECONDS, WorldPlan

MEMBERS_PER_TASK = 2_500
CLICKS_PER_TASK = 1_000_000
ROWS_AT_ONCE = 10_000
Make = Callable[[WorldPlan, Ints], Iterator[pa.RecordBatch]]
LINES_SCHEMA = T.StructType(
    [
        T.StructField("source", STRING),
        T.StructField("file", STRING),
        T.StructField("part", INT),
        T.StructField("position", LONG),
        T.StructField("line", STRING),
    ]
)


def by_member(spark: SparkSession, plan: WorldPlan, make: Make, schema: T.StructType) -> DataFrame:
    """Rows that ``make`` gives for the numbers of all members, a few members at a time."""
    tasks = plan.world.tasks or max(2, -(-plan.world.num_members // MEMBERS_PER_TASK))
    return _by_number(spark, plan, make, (plan.world.num_members, tasks, plan.world.members_at_once), schema)


def shop_lines(spark: SparkSession, plan: WorldPlan) -> DataFrame:
    """Every line of every file; ``repeated`` is true for those that a replayed file says again."""
    lines = _delivered(by_member(spark, plan, member_lines, LINES_SCHEMA), plan)
    return lines.unionByName(_other_lines(spark, plan).withColumn("repeated", F.lit(False)))


def _other_lines(spark: SparkSession, plan: WorldPlan) -> DataFrame:
    """Catalogue, rates, headers and defects."""
    rates = [tuple(row.values()) for batch in rate_lines(plan) for row in batch.to_pylist()]
    few = spark.createDataFrame([*_headers(plan), *rates, *defect_lines(plan)], LINES_SCHEMA)
    # A length that depends on the row: a constant text would be part of the plan, and of every copy of its description.
    length = F.col("line").contains(HUGE_MARK).cast("int") * HUGE_CHARACTERS
    few = few.withColumn("line", F.replace(F.col("line"), F.lit(HUGE_MARK), F.repeat(F.lit("x"), length)))
    num_products, num_clicks = plan.world.catalogue.num_products, plan.world.defects.giant_member
    products = _by_number(spark, plan, product_lines, (num_products, 1, ROWS_AT_ONCE), LINES_SCHEMA)
    tasks = 1 + num_clicks // CLICKS_PER_TASK
    giant = _by_number(spark, plan, giant_lines, (num_clicks, tasks, ROWS_AT_ONCE), LINES_SCHEMA)
    return few.unionByName(products).unionByName(giant)


def _delivered(lines: DataFrame, plan: WorldPlan) -> DataFrame:
    """The members' lines with what happens to whole files: some come twice, some in disorder."""
    shuffled = (F.col("source") == "clicks") & F.col("file").isin(shuffled_files(plan))
    day = F.floor(F.col("position") / DAY_SECONDS)
    again = F.lit(False)
    for replayed in replayed_days(plan):
        again = again | ((F.col("source") == "orders") & (day == replayed))
    copies = F.explode(F.when(again, F.array(F.lit(False), F.lit(True))).otherwise(F.array(F.lit(False))))
    twice = lines.withColumn("repeated", copies)
    file = F.when(F.col("repeated"), _replay_name(day, plan)).otherwise(F.col("file"))
    position = F.when(shuffled, F.xxhash64("line")).otherwise(F.col("position"))
    return twice.select("source", file.alias("file"), "part", position.alias("position"), "line", "repeated")


def replayed_days(plan: WorldPlan) -> list[int]:
    """The days whose order lines come twice, from the middle of the data on."""
    return [min(plan.num_days // 2 + number, plan.num_days - 1) for number in range(plan.world.defects.replayed_file)]


def shuffled_files(plan: WorldPlan) -> list[str]:
    """The click files whose lines are in disorder, the first ones."""
    return list(dict.fromkeys(file_names(plan)))[: plan.world.defects.shuffled_file]


def _replay_name(day: Column, plan: WorldPlan) -> Column:
    date = F.date_add(F.lit(plan.first_day), day.cast("int"))
    return F.concat(date.cast("string"), F.lit("-again"))


def _headers(plan: WorldPlan) -> list[tuple[str, str, int, int, str]]:
    """The first line of every CSV file and part; the rates only where there is a second currency."""
    periods = list(dict.fromkeys(file_names(plan)[: plan.num_days]))
    again = [f"{plan.date_of(day)}-again" for day in replayed_days(plan)]
    parts = range(plan.world.parts)
    dated = [("orders", file, part) for file in [*periods, *again] for part in parts]
    dated += [("refunds", file, part) for file in periods for part in parts]
    whole = [("products", ONE_FILE, 0)] + ([("rates", ONE_FILE, 0)] if plan.world.currencies else [])
    return [(source, file, part, HEADER_POSITION, HEADERS[source]) for source, file, part in [*dated, *whole]]


def _by_number(
    spark: SparkSession, plan: WorldPlan, make: Make, of: tuple[int, int, int], schema: T.StructType
) -> DataFrame:
    """``make`` over the numbers from 0 to ``of[0]``, in ``of[1]`` tasks, ``of[2]`` numbers at once."""
    num, tasks, at_once = of

    def in_pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            numbers = batch.column(0).to_numpy()
            for start in range(0, len(numbers), at_once):
                yield from make(plan, numbers[start : start + at_once])

    return spark.range(0, num, numPartitions=tasks).mapInArrow(in_pieces, schema)
