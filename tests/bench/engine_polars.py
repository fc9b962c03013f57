"""The tiles and window features of the engine's benchmark once more, in Polars; it takes all cores of the machine."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from memberlevel_spark.features.feature import Feature


def write_tiles(events: str, target: Path) -> None:
    """One row per member and day, to a Parquet file."""
    is_order = pl.col("event_type") == "order"
    counted = pl.scan_parquet(events).filter(pl.col("member_id").is_not_null() & pl.col("flag").is_null())
    tiles = counted.group_by("member_id", "day").agg(
        pl.col("order_id").filter(is_order).n_unique().cast(pl.Int64).alias("num_orders"),
        pl.col("quantity").filter(is_order).sum().alias("num_items"),
        pl.col("net_cents").sum().alias("spend_cents"),
        pl.col("discount_cents").filter(is_order).sum().alias("discount_cents"),
        (pl.col("event_type") == "view").sum().cast(pl.Int64).alias("num_views"),
        (pl.col("event_type") == "cart_add").sum().cast(pl.Int64).alias("num_cart_adds"),
        pl.col("session_id").filter(~is_order).n_unique().cast(pl.Int64).alias("num_sessions"),
        pl.len().cast(pl.Int64).alias("num_events"),
    )
    tiles.sink_parquet(target)


def write_features(tiles: Path, declared: Sequence[Feature], as_of_dates: Sequence[date], target: Path) -> None:
    """One filtered aggregate per feature, date by date: all dates at once would not fit the memory. Each date replaces
    the file of the one before."""
    reach = max(feature.window_days or 0 for feature in declared)
    for as_of in as_of_dates:
        window = pl.col("day").is_between(as_of - timedelta(days=reach), as_of, closed="right")
        values = [_value(feature, as_of) for feature in declared]
        features = pl.scan_parquet(tiles).filter(window).group_by("member_id").agg(values)
        features.with_columns(pl.lit(as_of).alias("as_of")).sink_parquet(target)


def _value(feature: Feature, as_of: date) -> pl.Expr:
    inside = pl.col("day") > as_of - timedelta(days=feature.window_days or 0)
    values = pl.col(feature.measure).filter(inside)
    return (values.sum() if feature.aggregate == "sum" else (values != 0).sum().cast(pl.Int64)).alias(feature.name)
