"""Daily tiles.

In: ``events``. Out: ``member_days``, one row per member and day with events; every measure is additive over days.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.schemas import MEMBER_DAYS


def build_member_days(events: DataFrame) -> DataFrame:
    """Sum the events of each member and day.

    num_orders counts distinct order ids (an order event without an id is an order of its own), num_items and the
    amounts sum over order events only, num_events counts all events.
    """
    is_order = F.col("event_type") == "order"
    # By order first: counting distinct orders inside one aggregate would expand every row.
    order_key = F.when(is_order, F.coalesce("order_id", "event_id"))
    by_order = events.groupBy("member_id", "day", order_key.alias("order_key")).agg(
        _sum_where(is_order, F.col("quantity")).alias("num_items"),
        _sum_where(is_order, F.col("amount_cents")).alias("spend_cents"),
        _sum_where(is_order, F.col("discount_cents")).alias("discount_cents"),
        _sum_where(F.col("event_type") == "activity", F.lit(1)).alias("num_activities"),
        F.count("*").alias("num_events"),
    )
    return (
        by_order.groupBy("member_id", "day")
        .agg(
            F.count("order_key").alias("num_orders"),
            *[
                F.sum(name).alias(name)
                for name in ("num_items", "spend_cents", "discount_cents", "num_activities", "num_events")
            ],
        )
        .select(*MEMBER_DAYS.schema.names)
    )


def _sum_where(condition: Column, value: Column) -> Column:
    return F.sum(F.when(condition, value).otherwise(F.lit(0))).cast("bigint")
