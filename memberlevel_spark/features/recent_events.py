"""The events that a sequence may need: of each member, the newest of every stretch of days between two as-of dates.

In: ``events`` and ``products``. Out: at most ``num_events + 1`` events per member and stretch, one row per event.

A sequence of the last N events before a date never reaches past the newest N of any stretch between two dates, and the
gap of its oldest event reaches one further. So a member with millions of events is cut down before anything is
collected, and before the shuffle: Spark limits each group while it reads (WindowGroupLimit).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import window as W

from memberlevel_spark.config import Config
from memberlevel_spark.features.tiles import is_tiled
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.levels.points import with_categories
from memberlevel_spark.timeline import day_end_second, day_number


@dataclass(frozen=True)
class SequencePlan:
    """What the sequences of one run are; plain values only, since it travels to the executors."""

    as_of_dates: tuple[date, ...]  # ascending
    num_events: int
    zone: str
    num_buckets: int
    categories: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config, vocabulary: Vocabulary, dates: Sequence[date]) -> "SequencePlan":
        """As configured, for some as-of dates in any order."""
        features = config.features
        return cls(
            as_of_dates=tuple(sorted(dates)),
            num_events=features.sequence_events,
            zone=config.timeline.business_zone,
            num_buckets=features.product_buckets,
            categories=vocabulary.entries["event_category"],
            channels=vocabulary.entries["event_channel"],
        )

    @property
    def as_of_days(self) -> tuple[int, ...]:
        """Days since 1970-01-01."""
        return tuple(map(day_number, self.as_of_dates))

    @property
    def end_seconds(self) -> tuple[int, ...]:
        """The instant at which each as-of date is over."""
        return tuple(day_end_second(day, self.zone) for day in self.as_of_dates)


def build_recent_events(events: DataFrame, plan: SequencePlan, products: DataFrame | None = None) -> DataFrame:
    """Guests' and flagged events are left out as they are left out of the tiles.

    ``amount_log`` is the signed log1p of net_cents; ``hour`` (1 to 24) and ``weekday`` (1 for Monday) are those of the
    business zone; ``product_bucket`` is 0 without a product; ``category`` and ``channel`` are text, null where unknown.
    """
    stretch = sum(((F.col("day") > F.lit(day)).cast("int") for day in plan.as_of_dates[:-1]), F.lit(0))
    newest = W.Window.partitionBy("member_id", "stretch").orderBy(
        F.col("day").desc(), F.col("event_ts").desc(), F.col("event_id").desc()
    )
    names = ("member_id", "day", "event_ts", "event_id", "event_type", "net_cents", "product_id", "channel")
    capped = (
        events.where(is_tiled() & (F.col("day") <= F.lit(plan.as_of_dates[-1])))
        .select(*names, stretch.alias("stretch"))
        .withColumn("place", F.row_number().over(newest))
        .where(F.col("place") <= plan.num_events + 1)
    )
    local = F.from_utc_timestamp("event_ts", plan.zone)
    return with_known_categories(capped, products).select(
        "member_id",
        "event_id",
        "event_ts",
        F.unix_date("day").alias("day"),
        F.unix_seconds("event_ts").alias("second"),
        "event_type",
        (F.signum("net_cents") * F.log1p(F.abs("net_cents"))).cast("float").alias("amount_log"),
        (F.hour(local) + 1).alias("hour"),
        (F.weekday(local) + 1).alias("weekday"),
        _bucket(plan.num_buckets).alias("product_bucket"),
        "category",
        "channel",
    )


def with_known_categories(events: DataFrame, products: DataFrame | None) -> DataFrame:
    """``events`` with the ``category`` of their product; null for all of them in a shop without products."""
    if products is None:
        return events.withColumn("category", F.lit(None).cast("string"))
    return with_categories(events, products)


def build_event_values(events: DataFrame, products: DataFrame | None, *, through: date) -> DataFrame:
    """How often each channel and category occurs up to and including a day: ``name``, ``value``, ``num``."""
    counted = events.where(is_tiled() & (F.col("day") <= F.lit(through)))
    # Pairs first: one pass over the events gives both, without doubling their rows.
    pairs = with_known_categories(counted, products).groupBy("channel", "category").agg(F.count("*").alias("num"))
    texts = [
        F.struct(F.lit(f"event_{column}").alias("name"), F.col(column).alias("value"))
        for column in ("channel", "category")
    ]
    named = pairs.select(F.explode(F.array(*texts)).alias("text"), "num").select("text.name", "text.value", "num")
    return named.where(F.col("value").isNotNull()).groupBy("name", "value").agg(F.sum("num").alias("num"))


def build_entries(values: DataFrame, *, min_count: int, max_entries: int) -> DataFrame:
    """The most frequent values of every name with their ``place``; among equally frequent ones the smaller text."""
    order = W.Window.partitionBy("name").orderBy(F.col("num").desc(), F.col("value").asc())
    ranked = values.where(F.col("num") >= min_count).withColumn("place", F.row_number().over(order))
    return ranked.where(F.col("place") <= max_entries).select("name", "place", "value")


def _bucket(num_buckets: int) -> Column:
    bucket = F.pmod(F.xxhash64("product_id"), F.lit(num_buckets).cast("bigint")) + 1
    return F.when(F.col("product_id").isNull(), 0).otherwise(bucket.cast("int"))
