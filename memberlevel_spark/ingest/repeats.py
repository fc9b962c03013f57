"""Repeated events: of several rows with one event id, one stays.

Finding the ids that repeat needs the ids only; rows that do not repeat are never shuffled for it.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

# Plain values first, so that the winner does not depend on the pseudonym key where it can be told without.
WINNER_ORDER = (
    "event_ts",
    "event_type",
    "amount_cents",
    "discount_cents",
    "quantity",
    "points",
    "rating",
    "product_id",
    "channel",
    "detail",
    "text",
    "flag",
    "member_id",
    "device_id",
    "order_id",
    "session_id",
)


def event_key(event_id: Column) -> Column:
    """64 bits that stand for an event id while repeats are looked for; a collision costs a look, never a row."""
    return F.xxhash64(event_id)


def repeated_keys(rows: DataFrame) -> DataFrame:
    """The ``event_key`` of every event id that more than one row has."""
    return rows.groupBy("event_key").count().where(F.col("count") > 1).select("event_key")


def first_of_each_event(rows: DataFrame) -> DataFrame:
    """One row per event id: the one received last, then the first by its values, whatever order they arrived in."""
    order = [F.col("received_ts").desc_nulls_last(), *(F.col(name).asc_nulls_first() for name in WINNER_ORDER)]
    first = W.Window.partitionBy("event_id").orderBy(*order)
    return rows.withColumn("rank", F.row_number().over(first)).where(F.col("rank") == 1).drop("rank")


def count_repeats(rows: DataFrame) -> DataFrame:
    """By source: rows beyond the first of their event id, as ``exact`` repeats and ``conflicting`` payloads."""
    payload = F.xxhash64("received_ts", *WINNER_ORDER)
    by_event = rows.groupBy("source", "event_id").agg(
        F.count("*").alias("num_rows"), F.count_distinct(payload).alias("num_payloads")
    )
    return by_event.groupBy("source").agg(
        F.sum(F.col("num_rows") - F.col("num_payloads")).alias("exact"),
        F.sum(F.col("num_payloads") - 1).alias("conflicting"),
    )
