"""Points that members earn by their events, by the section ``earn`` of the level programme."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config.levels import EarnConfig, MultiplierConfig

PLAIN_TIMES = 100  # hundredths


def with_categories(events: DataFrame, products: DataFrame) -> DataFrame:
    """``events`` with the ``category`` of their product; null where it has none, or had none yet on the event's day.

    ``products`` holds one row per product, the newest. What held before its ``valid_from`` is not kept, so an event
    before that day has an unknown category and not one from its future.
    """
    known = products.select("product_id", "category", F.col("valid_from").alias("listed_from"))
    listed = F.coalesce(F.col("listed_from") <= F.col("day"), F.lit(True))
    joined = events.join(known, "product_id", "left").withColumn("category", F.when(listed, F.col("category")))
    return joined.drop("listed_from")


def points_of_event(earn: EarnConfig, *, minor_units: int) -> Column:
    """Points of one event: those the log gives and those it earns, rounded toward zero.

    ``minor_units`` is the number of minor units in one unit of the shop's currency. Reads ``category`` only where a
    multiplier asks for one.
    """
    if not (earn.per_currency_unit or earn.per_event):
        return F.col("points")
    money = (F.col("net_cents") * earn.per_currency_unit).cast("decimal(38,0)")
    each = F.coalesce(*[F.when(F.col("event_type") == t, F.lit(n)) for t, n in earn.per_event.items()], F.lit(0))
    hundredths = (money + each * minor_units) * _times(earn)
    divisor = F.lit(minor_units * PLAIN_TIMES)
    # The remainder has the sign of the dividend: without it the division is exact and rounds toward zero.
    earned = (hundredths - hundredths % divisor) / divisor
    return F.col("points") + earned.cast("bigint")


def _times(earn: EarnConfig) -> Column:
    """The largest multiplier that applies, in hundredths."""
    applied = [F.when(_applies(m), F.lit(round(m.times * 100))) for m in earn.multipliers]
    if not applied:
        return F.lit(PLAIN_TIMES)
    return F.coalesce(F.array_max(F.array(*applied)), F.lit(PLAIN_TIMES))


def _applies(multiplier: MultiplierConfig) -> Column:
    conditions = F.lit(True)
    if multiplier.category is not None:
        conditions &= F.coalesce(F.col("category") == multiplier.category, F.lit(False))
    if multiplier.first_day is not None:
        conditions &= F.col("day") >= F.lit(multiplier.first_day)
    if multiplier.last_day is not None:
        conditions &= F.col("day") <= F.lit(multiplier.last_day)
    return conditions
