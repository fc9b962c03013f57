"""Numbers, money and dates as the report writes them. In: plain values. Out: text, "n/a" for what is unknown.

A space inside a number and its unit never breaks over a line (U+00A0).
"""

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

NOT_AVAILABLE = "n/a"
NO_BREAK = "\u00a0"
# Own names, because strftime's follow the machine's locale and the same data must give the same bytes.
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# ISO 4217: currencies whose minor unit is not a hundredth.
NO_MINOR_UNIT = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"}
    | {"RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"}
)
THOUSANDTHS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def is_missing(value: float | None) -> bool:
    """Tell whether a number is unknown: None or NaN."""
    return value is None or math.isnan(value)


def count(value: float | None) -> str:
    """Write a whole number with thousands separators: 2,469."""
    return NOT_AVAILABLE if value is None or math.isnan(value) else f"{round(value):,}"


def decimal(value: float | None, digits: int = 3) -> str:
    """Write a number with fixed digits: 0.861."""
    return NOT_AVAILABLE if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """Write a share of 1 in percent with one decimal: 86.0 %."""
    return NOT_AVAILABLE if share is None or math.isnan(share) else f"{100 * share:.1f}{NO_BREAK}%"


def minor_digits(currency: str) -> int:
    """Number of decimals of a currency's amounts (ISO 4217): 2 for EUR, 0 for JPY, 3 for KWD."""
    if currency.upper() in NO_MINOR_UNIT:
        return 0
    return 3 if currency.upper() in THOUSANDTHS else 2


def money(minor_units: float | None, currency: str) -> str:
    """Write an amount given in minor units in major units with its currency: 1,234.56 USD."""
    if minor_units is None or math.isnan(minor_units):
        return NOT_AVAILABLE
    digits = minor_digits(currency)
    return f"{minor_units / 10**digits:,.{digits}f}{NO_BREAK}{currency}"


def whole_money(minor_units: float | None, currency: str) -> str:
    """Write a sum over many members without decimals, which no forecast is good for: 350,111 USD."""
    if minor_units is None or math.isnan(minor_units):
        return NOT_AVAILABLE
    return f"{round(minor_units / 10 ** minor_digits(currency)):,}{NO_BREAK}{currency}"


def day(date: dt.date) -> str:
    """Write a date so that nobody mistakes day and month: 3 Dec 2017."""
    return f"{date.day}{NO_BREAK}{MONTHS[date.month - 1]}{NO_BREAK}{date.year}"


def level_name(level: float | None, names: Sequence[str]) -> str:
    """Name the level nearest to a level number, e.g. a mean of predicted levels; halves count for the higher level."""
    if level is None or math.isnan(level):
        return NOT_AVAILABLE
    return names[min(max(math.floor(level + 0.5), 0), len(names) - 1)]


def free_value(value: Any) -> str:
    """Write a monitored value of any kind: whole numbers as counts, others to three decimals, text as it is.

    Values too small for three decimals keep their leading digits: 1.234e-05.
    """
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, str | bool):
        return str(value)
    number = float(value)
    if math.isnan(number):
        return NOT_AVAILABLE
    if number.is_integer():
        return f"{number:,.0f}"
    return f"{number:,.3f}" if abs(number) >= 0.0005 else f"{number:.4g}"
