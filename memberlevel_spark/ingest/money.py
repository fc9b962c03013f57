"""Money: amounts of any currency as integers in minor units of the shop's currency.

In: rows with ``amount``, ``discount``, ``currency`` and ``day``. Out: the same rows with ``amount_cents`` and
``discount_cents``, and ``currency_rule``, why an amount has no value in the shop's currency.
"""

from decimal import Decimal

from iso4217 import Currency
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config.ingest import SourceConfig
from memberlevel_spark.config.model import MoneyConfig
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.ingest.canonical import MAX_AMOUNT

AMOUNTS = ("amount", "discount")


def minor_unit_digits(currency: str) -> int:
    """Decimals of a currency's minor unit by ISO 4217 (JPY 0, EUR 2, KWD 3). Errors: ConfigError for no currency."""
    try:
        return int(Currency(currency).exponent or 0)
    except ValueError:
        raise ConfigError(f"not a currency of ISO 4217: {currency}. Use its three-letter code, such as EUR.") from None


def shop_digits(money: MoneyConfig) -> int:
    """Decimals of the shop's own minor unit: the config's, else ISO 4217's."""
    return minor_unit_digits(money.currency) if money.minor_unit_digits is None else money.minor_unit_digits


def daily_rates(rates: DataFrame, max_age_days: int) -> DataFrame:
    """One rate per currency and day: that day's, else the newest of the ``max_age_days`` days before.

    In: good rows of ``rates``. Where a day has several rates the largest counts, whatever order they came in.
    """
    valid = F.explode(F.sequence(F.col("day"), F.date_add("day", max_age_days))).alias("rate_day")
    newest = F.max_by("rate", F.struct("day", "rate"))
    return rates.select("currency", "day", "rate", valid).groupBy("currency", "rate_day").agg(newest.alias("rate"))


def in_minor_units(rows: DataFrame, source: SourceConfig, money: MoneyConfig, rates: DataFrame | None) -> DataFrame:
    """Convert by the day's rate, round half up, exact in decimals.

    Null amounts where the currency is unknown or has no rate. ``rates`` is None when every amount is in the shop's
    currency already: then nothing is joined.
    """
    digits = shop_digits(money)
    if rates is None:
        scale = F.lit(10**digits if source.amounts_in == "major" else 1)
        cents = [_cents(F.col(name), scale).alias(f"{name}_cents") for name in AMOUNTS]
        return rows.select("*", *cents, F.lit(None).cast("string").alias("currency_rule"))
    foreign = F.col("currency") != money.currency
    day = (rows["currency"] == rates["currency"]) & (rows["day"] == rates["rate_day"])
    joined = rows.join(F.broadcast(rates), day, "left").drop(rates["currency"], rates["rate_day"])
    one = F.lit(1).cast("decimal(18,9)")
    rate = F.when(foreign, F.col("rate")).otherwise(one)
    unit = F.lit(10**digits) if source.amounts_in == "major" else _unit_change(F.col("currency"), money, digits)
    known = F.col("currency").isin(sorted(currency.code for currency in Currency))
    rule = F.when(~known, "unknown_currency").when(rate.isNull(), "missing_rate")
    converted = [
        F.when(F.col(name) == 0, F.lit(0).cast("bigint"))
        .when(rule.isNull(), _cents(F.col(name), unit, rate))
        .alias(f"{name}_cents")
        for name in AMOUNTS
    ]
    return joined.select("*", *converted, rule.alias("currency_rule")).drop("rate")


def _cents(amount: Column, scale: Column, rate: Column | None = None) -> Column:
    within = F.when(F.abs(amount) <= MAX_AMOUNT, amount)
    # The rate first: that product is exact, the power of ten then costs no digit that counts.
    value = within if rate is None else within * rate
    return F.round(value * scale).try_cast("bigint")


def _unit_change(currency: Column, money: MoneyConfig, digits: int) -> Column:
    """What one minor unit of a currency is in minor units of the shop, before the rate; null for no currency."""
    codes: dict[int, list[str]] = {}
    for other in Currency:
        own = digits if other.code == money.currency else int(other.exponent or 0)
        codes.setdefault(own, []).append(other.code)
    return F.coalesce(
        *[F.when(currency.isin(group), F.lit(Decimal(10) ** (digits - own))) for own, group in codes.items()]
    )
