"""Histories of orders up to an as-of date, from daily tiles."""

from datetime import date

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from memberlevel_spark.evaluation.order_histories import build_order_histories

pytestmark = pytest.mark.spark

AS_OF = date(2024, 3, 10)


def test_days_with_orders_count_from_the_first_to_the_as_of_date(spark: SparkSession) -> None:
    tiles = spark.createDataFrame(
        [
            ("a", date(2024, 3, 1), 1, 500),
            ("a", date(2024, 3, 4), 2, 300),
            ("a", date(2024, 3, 9), 1, 100),
            ("a", date(2024, 3, 10), 0, -50),  # a refund is no order
            ("a", date(2024, 3, 11), 5, 900),  # after the as-of date
            ("once", AS_OF, 1, 700),
            ("browses", date(2024, 3, 2), 0, 0),
        ],
        "member_id string, day date, num_orders bigint, spend_cents bigint",
    )
    expected = spark.createDataFrame(
        [("a", 2, 8, 9, 4, 200.0), ("once", 0, 0, 0, 1, None)],
        "member_id string, x bigint, t_x int, t int, num_orders bigint, worth_cents double",
    )
    assert_df_equality(build_order_histories(tiles, AS_OF), expected, ignore_row_order=True, ignore_nullable=True)
