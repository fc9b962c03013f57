"""Adding to tables that exist: which days and members new rows touch, and those days and members made anew.

All functions are pure: frames in, frames out. Whatever order batches arrive in, the result is that of one load of
everything, because a touched day is always rebuilt from all its rows.
"""

from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.ingest.profiles import build_members
from memberlevel_spark.ingest.refunds import order_key
from memberlevel_spark.ingest.repeats import event_key

GONE = "gone"


def same_events(events: DataFrame, new: DataFrame) -> DataFrame:
    """Present rows with the event id of a new one: ``order_id`` and ``day``."""
    return events.join(new.select("event_id").distinct(), "event_id", "left_semi").select("order_id", "day")


def changed_orders(new: DataFrame, same: DataFrame) -> DataFrame:
    """Orders that get new rows or may lose present ones; the net of all others stays. One column, distinct."""
    return new.select("order_id").unionAll(same.select("order_id")).where("order_id is not null").distinct()


def touched_days(
    events: DataFrame, new: DataFrame, same: DataFrame, *, orders: DataFrame | None, links: DataFrame | None
) -> DataFrame:
    """Days whose events change: those of new rows, and those of present rows that new ones bear upon.

    A present row is borne upon when it has the event id of a new one (``same``), when it is of one of ``orders``, or
    when it is a guest's (or was) and its device gets a link. One column ``day``, distinct.
    """
    parts = [new.select("day"), same.select("day")]
    if orders is not None:
        parts.append(events.join(orders, "order_id", "left_semi").select("day"))
    if links is not None:
        guests = events.where(F.col("stitched") | F.col("member_id").isNull())
        parts.append(guests.join(links.select("device_id").distinct(), "device_id", "left_semi").select("day"))
    return reduce(DataFrame.unionAll, parts).distinct()


def keyed(rows: DataFrame) -> DataFrame:
    """``rows`` with the keys by which repeats and refunded orders are found."""
    return rows.withColumns({"event_key": event_key(F.col("event_id")), "order_key": order_key(F.col("order_id"))})


def seen_otherwise(members: DataFrame, seen: DataFrame, since: date) -> DataFrame:
    """Members whose row by events, the one without a profile, may have to come, move or go; one column ``member_id``.

    In: as for ``changed_members``. Without new profiles nobody else's rows change, and on most days this is nobody.
    """
    declared, day = F.col("declared"), F.col("valid_from")
    present = members.groupBy("member_id").agg(
        F.min(F.when(~declared, day)).alias("present"), F.min(F.when(declared, F.col("known_from"))).alias("known")
    )
    both = present.join(seen.withColumnRenamed("valid_from", "seen"), "member_id", "full")
    early = F.when(F.col("present") < F.lit(since), F.col("present"))
    first = F.least(early, "seen")  # least leaves nulls out
    needs_row = F.col("known").isNull() | (first < F.col("known"))
    moved = ~first.eqNullSafe(F.col("present")) & (F.col("present").isNotNull() | needs_row)
    return both.where(moved).select("member_id")


def changed_members(members: DataFrame, declared: DataFrame, seen: DataFrame, since: date) -> DataFrame:
    """Rows to merge into ``members``, those that must go marked ``gone``.

    In: the table; new ``declared`` profiles; ``seen``: first day (``valid_from``) of each member among the events on or
    after ``since``, the first touched day.
    """
    touched = declared.select("member_id").unionAll(seen_otherwise(members, seen, since)).distinct()
    before, now_seen = (frame.join(touched, "member_id", "left_semi") for frame in (members, seen))
    early = ~F.col("declared") & (F.col("valid_from") < F.lit(since))
    first_days = now_seen.unionByName(before.where(early).select("member_id", "valid_from"))
    first_seen = first_days.groupBy("member_id").agg(F.min("valid_from").alias("valid_from"))
    profiles = before.where("declared").select(*declared.columns).unionByName(declared)
    after = build_members(profiles, first_seen)
    gone = before.join(after, ["member_id", "valid_from"], "left_anti").select(*members.columns)
    return after.withColumn(GONE, F.lit(False)).unionByName(gone.withColumn(GONE, F.lit(True)))
