"""Events: from mapped rows to the clean log of what members did.

In: good rows of ``mapping``. Out: ``events``, one row per event id. The steps, each a function from frame to frame:
``typed_events`` (one form for all sources) -> ``pseudonymised`` -> ``settled`` (repeats out, refunds net) ->
``build_events`` (guests named, sessions cut, days flagged). A later run joins them with the rows of the days it
touches, which ``reopened`` brings back to the form before the last step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config.ingest import RuleConfig
from memberlevel_spark.ingest.canonical import CANONICAL, GOOD, LATE, QUARANTINED
from memberlevel_spark.ingest.identifiers import Pseudonyms
from memberlevel_spark.ingest.identity import with_linked_members
from memberlevel_spark.ingest.refunds import order_key, plain_net, with_net_cents
from memberlevel_spark.ingest.repeats import event_key, first_of_each_event
from memberlevel_spark.ingest.visits import CUT, with_visits
from memberlevel_spark.schemas import EVENTS, LATE_EVENTS, QUARANTINE

# What typed events carry until the last step derives the rest; net_cents is null until they are settled.
BASE = (
    "event_id",
    "member_id",
    "device_id",
    "event_type",
    "event_ts",
    "day",
    "received_ts",
    "order_id",
    "product_id",
    "quantity",
    "amount_cents",
    "discount_cents",
    "net_cents",
    "points",
    "rating",
    "text",
    "session_id",
    "channel",
    "detail",
    "flag",
    "source",
)


@dataclass(frozen=True)
class Special:
    """The few events that need the company of others: keys of repeated ids and of orders to net; None where none."""

    repeated: DataFrame | None = None
    refunded: DataFrame | None = None


@dataclass(frozen=True)
class Visits:
    """What the last step derives with: device links (None: no guests), session gap, rules on a visitor's day."""

    links: DataFrame | None = None
    gap_minutes: int | None = None
    rules: Sequence[RuleConfig] = field(default=())


def with_status(mapped: DataFrame, status: str) -> DataFrame:
    """The mapped rows of one status."""
    return mapped.where(F.col("status") == status)


def typed_events(mapped: DataFrame) -> DataFrame:
    """Good rows in the form all sources share; an event without an id gets the hash of its content.

    Event ids are unique within a source, so the source becomes part of the id. ``event_key`` and ``order_key`` are what
    repeats and refunds are found by.
    """
    open_net = F.lit(None).cast("bigint")
    identified = with_status(mapped, GOOD).withColumns({"event_id": _own_id(), "net_cents": open_net})
    keys = {"event_key": event_key(F.col("event_id")), "order_key": order_key(F.col("order_id"))}
    return identified.select(*BASE).withColumns(keys)


def _own_id() -> Column:
    names = [name for name in CANONICAL["events"] if name not in ("event_id", "received_ts")]
    values = [F.coalesce(F.col(name).cast("string"), F.lit("")) for name in names]
    content = F.concat(F.lit("content:"), F.left(F.sha2(F.concat_ws("\x1f", *values), 256), F.lit(32)))
    return F.concat_ws(":", "source", F.coalesce("event_id", content))


def settled(rows: DataFrame, special: Special, pseudonyms: Pseudonyms | None = None) -> DataFrame:
    """One row per event id, with ``net_cents``. Only the special rows are shuffled; of the others those that were
    settled before keep their net. With ``pseudonyms`` raw identifiers are replaced on the way.
    """
    marks, net = [], F.coalesce("net_cents", plain_net())
    for key, frame in (("event_key", special.repeated), ("order_key", special.refunded)):
        if frame is not None:
            mark = f"has_{key}"
            rows = rows.join(frame.select(key, F.lit(True).alias(mark)), key, "left")
            marks.append(mark)
    if pseudonyms is not None:
        # After the marks: a row is hashed once, where it is settled.
        rows = pseudonymised(rows, pseudonyms)
    if not marks:
        return rows.withColumn("net_cents", net)
    is_special = F.coalesce(*marks, F.lit(False))
    plain = rows.where(~is_special).withColumn("net_cents", net)
    return plain.unionByName(with_net_cents(first_of_each_event(rows.where(is_special)))).drop(*marks)


def pseudonymised(rows: DataFrame, pseudonyms: Pseudonyms) -> DataFrame:
    """Replace every identifier; ``event_key`` and ``order_key``, if there, stay those of the raw ids."""
    replaced = {name: pseudonyms.member(F.col(name)) for name in ("member_id", "device_id")}
    replaced |= {name: pseudonyms.short(name, F.col(name)) for name in ("event_id", "order_id", "session_id")}
    return pseudonyms.with_pads(rows).select(
        *[replaced[name].alias(name) if name in replaced else F.col(name) for name in rows.columns]
    )


def build_events(rows: DataFrame, visits: Visits) -> DataFrame:
    """The ``events`` table from settled, pseudonymous rows; whole days of whole visitors at a time."""
    rows = rows.withColumns({"month": F.trunc("day", "MM").cast("date"), "stitched": F.lit(False)})
    if visits.links is not None:
        rows = with_linked_members(rows, visits.links)
    if visits.gap_minutes is not None or visits.rules:
        rows = with_visits(rows, gap_minutes=visits.gap_minutes, rules=visits.rules)
    return rows.select(*EVENTS.schema.names)


def reopened(events: DataFrame, day_rules: Sequence[RuleConfig]) -> DataFrame:
    """Rows of ``events`` as settled, before the last step: guests are guests, no cut sessions, no day's flags."""
    derived = F.coalesce(F.col("flag").isin([rule.name for rule in day_rules]), F.lit(False))
    cut = F.coalesce(F.col("session_id").startswith(CUT), F.lit(False))
    return events.withColumns(
        {
            "member_id": F.when(~F.col("stitched"), F.col("member_id")),
            "session_id": F.when(~cut, F.col("session_id")),
            "flag": F.when(~derived, F.col("flag")),
        }
    ).select(*BASE)


def build_late_events(mapped: DataFrame, pseudonyms: Pseudonyms) -> DataFrame:
    """Events that came too late to change their day."""
    rows = with_status(mapped, LATE).withColumn("event_id", _own_id())
    replaced = {"event_id": pseudonyms.short("event_id", F.col("event_id"))}
    replaced["member_id"] = pseudonyms.member(F.col("member_id"))
    return pseudonyms.with_pads(rows).withColumns(replaced).select(*LATE_EVENTS.schema.names)


def build_quarantine(mapped: DataFrame, target: str) -> DataFrame:
    """Every rejected row of one map: the first rule it broke, the shape of the value, where to find it in bronze."""
    rejected = with_status(mapped, QUARANTINED)
    return rejected.withColumn("target", F.lit(target)).select(*QUARANTINE.schema.names)
