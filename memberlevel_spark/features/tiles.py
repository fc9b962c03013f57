"""Daily tiles.

In: ``events``. Out: ``member_days``, one row per member and day with events; every measure is additive over days.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.ingest.refunds import is_refund
from memberlevel_spark.ingest.visits import BROWSING
from memberlevel_spark.schemas import MEASURES, MEMBER_DAYS


def is_tiled() -> Column:
    """Whether an event counts: it has a member, and no rule has flagged it."""
    return F.col("member_id").isNotNull() & F.col("flag").isNull()


def build_member_days(events: DataFrame, points: Column | None = None) -> DataFrame:
    """Sum the events of each member and day; guests' and flagged events are left out.

    ``points`` are those of one event; None takes the points that the log gives.

    num_orders counts distinct order ids (an order event without an id is an order of its own), num_discounted_orders
    those of them with a discount; num_sessions distinct session ids of browsing events, num_cart_sessions those in
    which something was put into the cart. num_items and discounts sum over order events, spend_cents is net of refunds
    on the day they take effect, num_events counts all events.
    """
    is_order = F.col("event_type") == "order"
    given = F.col("points") if points is None else points
    order_key = F.when(is_order, F.coalesce("order_id", "event_id"))
    session_key = F.when(F.col("event_type").isin(*BROWSING), F.col("session_id"))
    # By order and session first: counting distinct ones inside one aggregate would expand every row. An event has at
    # most one of the two keys, so every order and every session is one row.
    by_key = (
        events.where(is_tiled())
        .groupBy("member_id", "day", order_key.alias("order_key"), session_key.alias("session_key"))
        .agg(*[value.alias(name) for name, value in {**event_sums(), "points": F.sum(given)}.items()])
    )
    counts = {
        "num_orders": F.count("order_key"),
        "num_discounted_orders": F.count_if(F.col("order_key").isNotNull() & (F.col("discount_cents") > 0)),
        "num_sessions": F.count("session_key"),
        "num_cart_sessions": F.count_if(F.col("session_key").isNotNull() & (F.col("num_cart_adds") > 0)),
    }
    sums = {name: F.sum(name) for name in (*MEASURES, "num_events") if name not in counts}
    values = [value.alias(name) for name, value in {**counts, **sums}.items()]
    return by_key.groupBy("member_id", "day").agg(*values).select(*MEMBER_DAYS.schema.names)


def event_sums() -> dict[str, Column]:
    """The measures that are sums over events, by name, for any grouping; bigint, never null."""
    is_order = F.col("event_type") == "order"
    return {
        "num_items": _sum_where(is_order, F.col("quantity")),
        "spend_cents": F.sum("net_cents"),
        "discount_cents": _sum_where(is_order, F.col("discount_cents")),
        "num_activities": _number_of("activity"),
        "num_views": _number_of("view"),
        "num_searches": _number_of("search"),
        "num_cart_adds": _number_of("cart_add"),
        "num_coupons": _number_of("coupon"),
        "num_refunds": F.count_if(is_refund()),
        "num_events": F.count("*"),
    }


def _number_of(event_type: str) -> Column:
    return F.count_if(F.col("event_type") == event_type)


def _sum_where(condition: Column, value: Column) -> Column:
    return F.sum(F.when(condition, value).otherwise(F.lit(0))).cast("bigint")
