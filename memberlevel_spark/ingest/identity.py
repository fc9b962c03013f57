"""Guests become members: an event without a member takes the one its device was linked to at that moment.

A link counts from its own instant on. What a device did before its first link stays a guest's: nothing is merged from
the future. A link to nobody (member null) ends the one before it, for devices that are shared.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def links_by_device(links: DataFrame) -> DataFrame:
    """One row per device with its links in order. In: ``device_id``, ``member_id``, ``valid_from`` (instant)."""
    link = F.struct("valid_from", "member_id")
    return links.groupBy("device_id").agg(F.sort_array(F.collect_list(link)).alias("links"))


def with_linked_members(rows: DataFrame, links: DataFrame) -> DataFrame:
    """Fill ``member_id`` of guests and set ``stitched`` where that was done; other rows pass untouched.

    In: events with ``member_id`` null for guests; ``links`` as ``links_by_device`` makes them.
    """
    is_guest = F.col("member_id").isNull() & F.col("device_id").isNotNull()
    # Events that are nobody's guest get a key of their own: one null key for all would be one huge partition.
    keyed = rows.withColumn("link_key", F.when(is_guest, F.col("device_id")).otherwise(F.col("event_id")))
    named = links.withColumnRenamed("device_id", "link_key")
    linked = keyed.join(named, "link_key", "left")
    member = F.when(is_guest, _member_at(F.col("links"), F.col("event_ts")))
    return linked.withColumns({"stitched": member.isNotNull(), "member_id": F.coalesce("member_id", member)}).drop(
        "links", "link_key"
    )


def _member_at(links: Column, moment: Column) -> Column:
    past = F.filter(links, lambda link: link["valid_from"] <= moment)
    return F.try_element_at(past, F.lit(-1))["member_id"]
