"""Daily tiles by category, channel, product and hour.

In: ``events`` and ``products``. Out: ``member_day_breakdowns``, one row per member, day, dimension and value, of the
dimensions asked for; every measure is additive over days. An event without a value of a dimension is in none of its
rows. For the window kernel: the rows of each member as arrays.
"""

from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.features.breakdowns import Breakdown, dimensions_of
from memberlevel_spark.features.kernel_axes import CategoryAxis, ItemAxis
from memberlevel_spark.features.recent_events import with_known_categories
from memberlevel_spark.features.tiles import event_sums, is_tiled
from memberlevel_spark.levels.batches import flat, member_index
from memberlevel_spark.schemas import BREAKDOWN_MEASURES, MEMBER_DAY_BREAKDOWNS

PREFIX = "breakdown_"  # of the arrays: those of the daily tiles have the measures' own names
DAY, DIMENSION, ITEM = f"{PREFIX}day", f"{PREFIX}dimension", f"{PREFIX}item"

# Running sums of a spread measure take 8 bytes per row and part.
MAX_ROWS = 500_000


def build_member_day_breakdowns(
    events: DataFrame, products: DataFrame | None, dimensions: Sequence[str], *, zone: str
) -> DataFrame:
    """Sum the events of each member, day and value; hours are those of the business zone, as text."""
    rows = events.where(is_tiled())
    if "category" in dimensions:
        rows = with_known_categories(rows, products)
    texts = {
        "category": F.col("category"),
        "channel": F.col("channel"),
        "product": F.col("product_id"),
        "hour": F.hour(F.from_utc_timestamp("event_ts", zone)).cast("string"),
    }
    pairs = [F.struct(F.lit(name).alias("dimension"), texts[name].alias("value")) for name in dimensions]
    sums = event_sums()
    exploded = rows.withColumn("breakdown", F.explode(F.array(*pairs))).withColumns(
        {"dimension": F.col("breakdown.dimension"), "value": F.col("breakdown.value")}
    )
    keys = ("member_id", "day", "dimension", "value")
    summed = exploded.where(F.col("value").isNotNull()).groupBy(*keys)
    return summed.agg(*[sums[name].alias(name) for name in BREAKDOWN_MEASURES]).select(
        *MEMBER_DAY_BREAKDOWNS.schema.names
    )


def with_breakdowns(
    rows: DataFrame, member_day_breakdowns: DataFrame, breakdowns: Sequence[Breakdown], *, first_day: int | None
) -> DataFrame:
    """``rows``, one per member, with its breakdowns from ``first_day`` (since 1970; None: of all days) as arrays."""
    dimensions = dimensions_of(breakdowns)
    wanted = F.col("dimension").isin(*dimensions)
    if first_day is not None:
        wanted &= F.col("day") >= F.date_from_unix_date(F.lit(first_day))
    number = F.array_position(F.array(*map(F.lit, dimensions)), F.col("dimension")).cast("int")
    columns = {
        DAY: F.unix_date("day"),
        DIMENSION: number - 1,
        ITEM: F.xxhash64("value"),
        **{part_name(breakdown): _part(breakdown) for breakdown in breakdowns if breakdown.measure},
        **{f"{PREFIX}{breakdown.measure}": F.col(breakdown.measure) for breakdown in breakdowns if breakdown.measure},
    }
    one = F.struct(*[column.alias(name) for name, column in columns.items()])
    gathered = member_day_breakdowns.where(wanted).groupBy("member_id").agg(F.collect_list(one).alias("breakdowns"))
    arrays = [F.col(f"breakdowns.{name}").alias(name) for name in columns]
    return rows.join(gathered, "member_id", "left").select(*rows.columns, *arrays)


def breakdown_axes(
    batch: pa.RecordBatch, breakdowns: Sequence[Breakdown]
) -> tuple[dict[str, ItemAxis], dict[str, CategoryAxis]]:
    """The item and the category axes of a batch of members, by the names that features call them."""
    items: dict[str, ItemAxis] = {}
    categories: dict[str, CategoryAxis] = {}
    if not breakdowns:
        return items, categories
    dimensions, member_R = dimensions_of(breakdowns), member_index(batch.column(DAY))
    day_R, dimension_R, item_R = (flat(batch.column(name)) for name in (DAY, DIMENSION, ITEM))
    for breakdown in breakdowns:
        in_R = dimension_R == dimensions.index(breakdown.dimension)
        if breakdown.measure is None:
            items[breakdown.name] = ItemAxis.of(member_R[in_R], day_R[in_R], item_I=item_R[in_R])
            continue
        part_R, value_R = (flat(batch.column(name)) for name in (part_name(breakdown), f"{PREFIX}{breakdown.measure}"))
        categories[breakdown.name] = CategoryAxis.of(
            breakdown.num_parts, member_R[in_R], day_R=day_R[in_R], category_R=part_R[in_R], value_R=value_R[in_R]
        )
    return items, categories


def breakdown_chunks(batch: pa.RecordBatch, breakdowns: Sequence[Breakdown]) -> Iterator[pa.RecordBatch]:
    """The batch in parts of whole members with at most ``MAX_ROWS`` rows of breakdowns, or of a single member."""
    if not breakdowns:
        yield batch
        return
    lengths = batch.column(DAY).value_lengths().to_numpy(zero_copy_only=False)
    before_M = np.concatenate([[0], np.cumsum(np.nan_to_num(lengths).astype(np.int64))])
    first = 0
    while first < batch.num_rows:
        fitting = int(np.searchsorted(before_M, before_M[first] + MAX_ROWS, side="right")) - 1
        after = max(fitting, first + 1)
        yield batch.slice(first, after - first)
        first = after


def _part(breakdown: Breakdown) -> Column:
    """The number of the part that the value of a row is in; rows of other dimensions have one too, never read."""
    if breakdown.dimension == "hour":
        return F.coalesce(F.col("value").try_cast("int"), F.lit(0))
    numbered = enumerate(breakdown.entries)
    named = reduce(lambda more, pair: more.when(F.col("value") == pair[1], pair[0]), numbered, F.when(F.lit(False), 0))
    return named.otherwise(breakdown.num_parts - 1)


def part_name(breakdown: Breakdown) -> str:
    """The array of the parts that rows are in."""
    return f"{PREFIX}part_of_{breakdown.dimension}"
