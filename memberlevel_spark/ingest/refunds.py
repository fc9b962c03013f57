"""Refunds and cancellations, net against their order.

``net_cents`` is what an event changes in the money its order has brought so far: an order's net is
``max(0, paid - refunded)`` at every moment, and an event's net is the step it makes. So a refund never takes more than
was paid, one that comes before its purchase waits for it, one without an order takes nothing, and the value at any
moment depends on nothing later.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

REFUND, CANCELLATION = "refund", "cancellation"


def is_refund() -> Column:
    """Whether an event takes money back: a refund of its amount, or a cancellation of the whole order."""
    return F.col("event_type").isin(REFUND, CANCELLATION)


def order_key(order_id: Column) -> Column:
    """64 bits that stand for an order id while refunded orders are looked for."""
    return F.xxhash64(order_id)


def refunded_keys(rows: DataFrame) -> DataFrame:
    """The ``order_key`` of every order that has a refund or a cancellation."""
    return rows.where(is_refund() & F.col("order_id").isNotNull()).select("order_key").distinct()


def plain_net() -> Column:
    """Net of an event whose order has no refund: what was paid; a refund without an order takes nothing."""
    return F.when(F.col("event_type") == "order", F.col("amount_cents")).otherwise(F.lit(0).cast("bigint"))


def with_net_cents(rows: DataFrame) -> DataFrame:
    """``rows`` with ``net_cents`` (bigint, minor units); all rows of an order must be among them, once each."""
    is_order = F.col("event_type") == "order"
    # A column of its own: windows over an expression would each shuffle and sort the rows again.
    rows = rows.withColumn("own_order", F.coalesce("order_id", "event_id"))
    in_order = W.Window.partitionBy("own_order").orderBy(
        F.col("event_ts").asc(), is_order.desc(), F.col("event_id").asc()
    )
    so_far = in_order.rowsBetween(W.Window.unboundedPreceding, W.Window.currentRow)
    nothing = F.lit(0).cast("bigint")
    paid = F.sum(F.when(is_order, F.col("amount_cents")).otherwise(nothing)).over(so_far)
    refunded = F.sum(F.when(F.col("event_type") == REFUND, F.col("amount_cents")).otherwise(nothing)).over(so_far)
    cancelled = F.max(F.col("event_type") == CANCELLATION).over(so_far)
    worth = F.when(cancelled, nothing).otherwise(F.greatest(nothing, paid - refunded))
    valued = rows.withColumn("worth_cents", worth)
    before = F.lag("worth_cents", 1, 0).over(in_order)
    return valued.withColumn("net_cents", F.col("worth_cents") - before).drop("worth_cents", "own_order")
