"""Silver: typed, deduplicated canonical tables.

In: mapped rows (``mapping.py``). Out: ``events`` (one row per event_id), ``members`` (one row per member and
valid_from), ``products`` (one row per product_id), ``quarantine`` (one row per rejected source row).
"""

from collections.abc import Callable
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from memberlevel_spark.config.model import MoneyConfig
from memberlevel_spark.ingest.mapping import GOOD, QUARANTINED
from memberlevel_spark.schemas import EVENTS, MEMBERS, PRODUCTS, QUARANTINE

IDENTIFIERS = ("event_id", "member_id", "order_id")


def good_rows(mapped: DataFrame) -> DataFrame:
    """The mapped rows that passed every rule."""
    return mapped.where(F.col("status") == GOOD)


def build_events(
    mapped: DataFrame, *, money: MoneyConfig, zone: str, pseudonym: Callable[[Column], Column]
) -> DataFrame:
    """Good rows as events: pseudonymous, in minor units, with the business day; one row per event_id.

    Event ids are unique within a source, so the source becomes part of the id. Of several rows with one id the first in
    the order of all columns wins, whatever order they arrived in.
    """
    scale = 10**money.minor_unit_digits
    rows = good_rows(mapped).select(
        pseudonym(F.concat_ws(":", "source", "event_id")).alias("event_id"),
        pseudonym(F.col("member_id")).alias("member_id"),
        "event_type",
        "event_ts",
        F.to_date(F.from_utc_timestamp("event_ts", zone)).alias("day"),
        pseudonym(F.col("order_id")).alias("order_id"),
        "product_id",
        "quantity",
        F.round(F.col("amount") * scale).cast("bigint").alias("amount_cents"),
        F.round(F.col("discount") * scale).cast("bigint").alias("discount_cents"),
        "channel",
        "source",
    )
    return _first_by_all_columns(rows, "event_id").select(*EVENTS.schema.names)


def build_members(mapped: DataFrame, events: DataFrame, *, pseudonym: Callable[[Column], Column]) -> DataFrame:
    """Profile history, one row per member and valid_from; valid_to is the next valid_from, null while current.

    Attributes that several sources give for the same day are joined; where they differ the largest text wins. A member
    with events before, or without, any profile gets a row without attributes from the day of the first event, so that
    ``members`` is everybody the shop has ever known.
    """
    given = good_rows(mapped).select(pseudonym(F.col("member_id")).alias("member_id"), "valid_from", "attributes")
    first_seen = events.groupBy("member_id").agg(F.min("day").alias("valid_from"))
    first_given = given.groupBy("member_id").agg(F.min("valid_from").alias("first_given"))
    unprofiled = first_seen.join(first_given, "member_id", "left").where(
        F.col("first_given").isNull() | (F.col("valid_from") < F.col("first_given"))
    )
    empty = F.lit(None).cast("map<string,string>").alias("attributes")
    rows = given.unionByName(unprofiled.select("member_id", "valid_from", empty))
    history = W.Window.partitionBy("member_id").orderBy(F.col("valid_from").asc_nulls_first())
    return (
        _joined_attributes(rows, "member_id", "valid_from")
        .withColumn("valid_to", F.lead("valid_from").over(history))
        .select(*MEMBERS.schema.names)
    )


def build_products(mapped: DataFrame) -> DataFrame:
    """One row per product; where sources differ, the largest category and attribute text wins."""
    rows = good_rows(mapped)
    category = rows.groupBy("product_id").agg(F.max("category").alias("category"))
    attributes = _joined_attributes(rows, "product_id")
    return category.join(attributes, "product_id", "inner").select(*PRODUCTS.schema.names)


def build_quarantine(mapped: dict[str, list[DataFrame]]) -> DataFrame:
    """Every rejected row of every source with the first rule it broke and the source row as JSON."""
    parts = [
        frame.where(F.col("status") == QUARANTINED).select(
            "source", F.lit(target).alias("target"), "rule", "raw", "file"
        )
        for target, frames in mapped.items()
        for frame in frames
    ]
    return reduce(DataFrame.unionAll, parts).select(*QUARANTINE.schema.names)


def _first_by_all_columns(rows: DataFrame, key: str) -> DataFrame:
    order = [F.col(name).asc_nulls_first() for name in rows.columns]
    first = W.Window.partitionBy(key).orderBy(*order)
    return rows.withColumn("rank", F.row_number().over(first)).where(F.col("rank") == 1).drop("rank")


def _joined_attributes(rows: DataFrame, *key: str) -> DataFrame:
    """One row per key with the attributes of all its rows in one map, sorted by name, the largest value winning."""
    entries = rows.select(*key, F.explode_outer("attributes").alias("name", "value"))
    single = entries.groupBy(*key, "name").agg(F.max("value").alias("value"))
    # collect_list leaves nulls out: a member without attributes gets an empty map, not none.
    entry = F.when(F.col("name").isNotNull(), F.struct("name", "value"))
    return single.groupBy(*key).agg(F.map_from_entries(F.sort_array(F.collect_list(entry))).alias("attributes"))
