"""Silver in plain Python: what every table must hold, said as plainly as possible and as slowly as it takes.

In: the rows of each source (a dict of text, or a line that does not parse), in any order. Out: the rows of every table
as dicts, instants and days as text in UTC, attributes as JSON pairs. Public ids only (``pseudonyms.method: off``).
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from hashlib import sha256
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]
EXACT = Context(prec=80)
UTC = ZoneInfo("UTC")
EVENT_COLUMNS = (
    *("event_id", "member_id", "device_id", "event_type", "event_ts", "received_ts", "order_id", "product_id"),
    *("quantity", "amount", "discount", "currency", "points", "rating", "text", "session_id", "channel"),
    *("user_agent", "detail"),
)
# A column's kind, in the order in which a row is judged; "!" must have a value.
KINDS = {
    "events": dict.fromkeys(EVENT_COLUMNS, "text")
    | dict.fromkeys(("event_id", "member_id", "device_id", "order_id", "session_id"), "id")
    | {"event_type": "text!", "event_ts": "instant!", "received_ts": "instant", "quantity": "count", "points": "count"}
    | {"amount": "amount", "discount": "amount", "rating": "number"},
    "members": {"member_id": "id!", "valid_from": "day!", "received_ts": "instant"},
    "products": {"product_id": "text!", "category": "text", "valid_from": "day"},
    "devices": {"device_id": "id!", "member_id": "id", "valid_from": "instant!"},
    "rates": {"currency": "text!", "day": "day!", "rate": "rate!"},
}
DEFAULTS = {"quantity": 1, "points": 0, "amount": Decimal(0), "discount": Decimal(0)}
TYPES = {"order", "refund", "cancellation", "view", "search", "cart_add", "cart_remove", "checkout", "session_start"}
TYPES |= {"activity", "points", "coupon", "review"}
BROWSING = {"view", "search", "cart_add", "cart_remove", "checkout", "session_start"}
DIGITS = {"EUR": 2, "USD": 2, "GBP": 2, "JPY": 0, "KWD": 3}
# Of two rows with one id and one received_ts the smallest by these wins, nulls first.
WINNER = ("event_ts", "event_type", "amount_cents", "discount_cents", "quantity", "points", "rating", "product_id")
WINNER += ("channel", "detail", "text", "flag", "member_id", "device_id", "order_id", "session_id")
KEPT = ("event_id", "member_id", "device_id", "event_type", "event_ts", "day", "month", "received_ts", "order_id")
KEPT += ("product_id", "quantity", "amount_cents", "discount_cents", "net_cents", "points", "rating", "text")
KEPT += ("session_id", "channel", "detail", "stitched", "flag", "source")


@dataclass(frozen=True)
class Rule:
    """A quality rule: the YAML's expression, and the same in Python; None counts as broken."""

    name: str
    table: str
    severity: str
    expression: str
    holds: Callable[[Row], bool | None]


@dataclass(frozen=True)
class Source:
    """One source and the columns its maps give, by table."""

    name: str
    maps: Mapping[str, Sequence[str]]
    zone: str = "UTC"
    currency: str | None = None
    minor: bool = False
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shop:
    """What the configuration says; ``written`` is the modification time of every file."""

    sources: Sequence[Source]
    written: datetime
    zone: str = "UTC"
    currency: str = "EUR"
    late_days: int | None = None
    gap_minutes: int | None = 30
    max_rate_age_days: int = 0
    max_future_days: int | None = 1
    rules: Sequence[Rule] = ()


def silver(shop: Shop, lines: Mapping[str, Iterable[Row | str]]) -> dict[str, list[Row]]:
    """Every table of silver, ``member_days``, and ``counts``: what became of the rows."""
    judged = [
        judge(shop, source, table, line)
        for source in shop.sources
        for line in lines[source.name]
        for table in source.maps
        if table != "events"
    ]
    good = {table: [r for r in judged if r["table"] == table and r["status"] == "good"] for table in KINDS}
    rates = rate_table(good["rates"], shop.max_rate_age_days)
    events = [
        judge(shop, source, "events", line, rates)
        for source in shop.sources
        if "events" in source.maps
        for line in lines[source.name]
    ]
    one_each = winners(row for row in events if row["status"] == "good")
    with_net(one_each)
    with_members(one_each, good["devices"])
    with_visits(one_each, shop)
    everything = [*judged, *events]
    return {
        "events": [shown({name: row[name] for name in KEPT}) for row in one_each],
        "members": members(good["members"], one_each, shop.zone),
        "products": products(good["products"]),
        "late_events": [late_row(row) for row in events if row["status"] == "late"],
        "quarantine": [
            {"source": row["source"], "target": row["table"], "rule": row["rule"]}
            for row in everything
            if row["status"] == "quarantined"
        ],
        "member_days": member_days(one_each),
        "counts": [dict(Counter(row["status"] for row in everything)) | {"events": len(one_each)}],
    }


def judge(shop: Shop, source: Source, table: str, line: Row | str, rates: Row | None = None) -> Row:
    """One line for one table: its typed values, its status and the first rule it breaks."""
    row: Row = {"source": source.name, "table": table, "rule": None, "status": "good"}
    if isinstance(line, str):
        return row | {"status": "quarantined", "rule": "corrupt_row"}
    if line.get("to") != table:
        return row | {"status": "filtered"}
    given, kinds = source.maps[table], KINDS[table]
    for name, kind in kinds.items():
        row[name] = typed(line.get(name) if name in given else None, name, kind, source)
    row["attributes"] = {name: line[name] for name in given if name not in kinds and line.get(name) is not None}
    if table == "events":
        if row["event_type"] == "ignore":
            return row | {"status": "filtered"}
        add_money(row, shop, source, rates or {})
    row["rule"] = next(first_broken(row, line, shop, source), None)
    broken = [rule for rule in shop.rules if rule.table == table and not row["rule"] and not rule.holds(row)]
    row["rule"] = row["rule"] or next((rule.name for rule in broken if rule.severity == "quarantine"), None)
    row["flag"] = next((rule.name for rule in broken if rule.severity == "flag"), None)
    if row["rule"]:
        return row | {"status": "quarantined"}
    if table == "events":
        row["event_id"] = f"{source.name}:{row['event_id'] or content_hash(row)}"
        row["month"] = row["day"].replace(day=1)
        if shop.late_days is not None and row["received_ts"]:
            late = (local_day(row["received_ts"], shop.zone) - row["day"]).days > shop.late_days
            row["status"] = "late" if late else "good"
    return row


def first_broken(row: Row, line: Row, shop: Shop, source: Source) -> Iterable[str]:
    """The built-in rules a row breaks, in their order."""
    table = row["table"]
    given = source.maps[table]
    for name, kind in KINDS[table].items():
        value, text = row[name], line.get(name) if name in given else None
        if kind.startswith("id") and value is not None and len(value) > 512:
            yield f"too_long_{name}"
        if kind.rstrip("!") not in ("id", "text") and value is None and (text or "").strip(" "):
            yield f"wrong_type_{name}"
        if kind.endswith("!") and value is None:
            yield f"null_{name}"
    if table == "rates" and row["rate"] <= 0:
        yield "rate_not_positive"
    if table == "events":
        yield from broken_event_rules(row, shop, source)


def broken_event_rules(row: Row, shop: Shop, source: Source) -> Iterable[str]:
    """What an event with values of the right types must satisfy besides."""
    if row["event_type"] not in TYPES:
        yield "unknown_event_type"
    if "event_id" in source.maps["events"] and row["event_id"] is None:
        yield "null_event_id"
    if row["member_id"] is None and row["device_id"] is None:
        yield "null_member_id"
    if not datetime(1990, 1, 1) <= row["event_ts"] <= datetime(2100, 1, 1):
        yield "timestamp_out_of_range"
    if shop.max_future_days is not None:
        latest = (row["received_ts"] or shop.written) + timedelta(days=shop.max_future_days)
        if row["event_ts"] > latest:
            yield "timestamp_in_future"
    yield from (f"negative_{name}" for name in ("amount", "discount", "quantity") if row[name] < 0)
    yield from (f"out_of_range_{name}" for name in ("amount", "discount") if row[name] > 10**12)
    yield from (f"out_of_range_{name}" for name in ("quantity", "points") if abs(row[name]) > 10**9)
    if row["amount"] or row["discount"]:
        if row["currency"] not in DIGITS:
            yield "unknown_currency"
        elif None in (row["amount_cents"], row["discount_cents"]):
            yield "missing_rate"


def typed(text: str | None, name: str, kind: str, source: Source) -> Any:
    """A text as a value of its kind; None for none, and for text of another kind."""
    if kind.startswith("id"):
        return identifier(text)
    if name == "event_type":
        word = (text or "").strip(" ")
        return (source.words.get(word, f"?{word}") if source.words else word) if word else None
    if kind.startswith("text"):
        return text or None
    plain = (text or "").strip(" ")
    if not plain:
        return DEFAULTS.get(name)
    try:
        return PARSERS[kind.rstrip("!")](plain, source)
    except (ValueError, InvalidOperation):
        return None


def identifier(text: str | None) -> str | None:
    """One spelling per identifier: visible characters only, no outer space, NFKC when it is not ASCII."""
    visible = "".join(c for c in text or "" if unicodedata.category(c) not in ("Cc", "Cf"))
    plain = visible if visible.isascii() else unicodedata.normalize("NFKC", visible)
    return plain.strip() or None


def instant(text: str, source: Source) -> datetime:
    """UTC without a zone. Local time of the source unless the text says another zone or offset."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)\s?(\S+)?)?", text)
    if not match:
        raise ValueError(text)
    day, clock, zone = match.groups()
    local = datetime.fromisoformat(f"{day} {clock or '00:00'}")
    if not 1900 < local.year < 9000:
        return local  # out of range in every zone, and some zones would overflow
    if zone and re.fullmatch(r"[+-]\d\d:\d\d", zone):
        return datetime.fromisoformat(f"{day} {clock}{zone}").astimezone(UTC).replace(tzinfo=None)
    # Python too takes the first of two, and moves a skipped hour forward.
    return (
        local.replace(tzinfo=ZoneInfo("UTC" if zone == "Z" else zone or source.zone))
        .astimezone(UTC)
        .replace(tzinfo=None)
    )


def decimal(text: str, num_digits: int, scale: int) -> Decimal:
    """Like ``try_cast(text as decimal(num_digits, scale))``; ValueError where that is null."""
    value = Decimal(text)
    if not value.is_finite() or value.adjusted() > num_digits:
        raise ValueError(text)
    rounded = rounded_half_up(value, scale)
    if abs(rounded) >= 10 ** (num_digits - scale):
        raise ValueError(text)
    return rounded


def count(text: str) -> int:
    """Like ``try_cast(text as bigint)``."""
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError(text)
    return value


def number(text: str) -> float:
    """A finite number."""
    if not isfinite(value := float(text)):
        raise ValueError(text)
    return value


PARSERS: dict[str, Callable[[str, Source], Any]] = {
    "instant": instant,
    "day": lambda text, _: date.fromisoformat(text),
    "count": lambda text, _: count(text),
    "number": lambda text, _: number(text),
    "amount": lambda text, _: decimal(text, 20, 6),
    "rate": lambda text, _: decimal(text, 18, 9),
}


def rounded_half_up(value: Decimal, scale: int) -> Decimal:
    """To so many decimals."""
    return value.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP, EXACT)


def rate_table(rates: Iterable[Row], max_age_days: int) -> Row:
    """Currency and day to rate: the newest of the day and the days before; of several the largest."""
    best: dict[tuple[str, date], tuple[date, Decimal]] = {}
    for row in rates:
        for age in range(max_age_days + 1):
            key = (row["currency"], row["day"] + timedelta(days=age))
            best[key] = max(best.get(key, (date.min, Decimal(0))), (row["day"], row["rate"]))
    return {key: rate for key, (_, rate) in best.items()}  # type: ignore[misc]


def add_money(row: Row, shop: Shop, source: Source, rates: Row) -> None:
    """Business day, currency, and the amounts in minor units of the shop's currency; None without a rate."""
    row["currency"] = (row["currency"] or source.currency or shop.currency).strip(" ").upper()
    row["day"] = local_day(row["event_ts"], shop.zone) if row["event_ts"] else None
    own = row["currency"] == shop.currency
    rate = Decimal(1) if own else rates.get((row["currency"], row["day"]))  # type: ignore[call-overload]
    for name in ("amount", "discount"):
        row[f"{name}_cents"] = None
        if row[name] == 0:
            row[f"{name}_cents"] = 0
        elif row[name] is not None and rate is not None and row["currency"] in DIGITS:
            unit = DIGITS[shop.currency] - (DIGITS[row["currency"]] if source.minor else 0)
            value = EXACT.multiply(row[name], rate).scaleb(unit, EXACT)
            row[f"{name}_cents"] = int(rounded_half_up(value, 0))


def content_hash(row: Row) -> str:
    """The id of an event without one."""
    values = [
        "" if row[name] is None else plain_text(row[name])
        for name in EVENT_COLUMNS
        if name not in ("event_id", "received_ts")
    ]
    return "content:" + sha256("\x1f".join(values).encode()).hexdigest()[:32]


def winners(rows: Iterable[Row]) -> list[Row]:
    """Of the rows with one event id, the one received last, then the smallest."""
    by_id = defaultdict(list)
    for row in rows:
        by_id[row["event_id"]].append(row)

    def rank(row: Row) -> tuple[Any, ...]:
        values = [(False, "") if row[name] is None else (True, row[name]) for name in WINNER]
        return (row["received_ts"] is None, datetime.max - (row["received_ts"] or datetime.max), *values)

    return [min(same, key=rank) for same in by_id.values()]


def with_net(events: list[Row]) -> None:
    """An order is worth what was paid minus refunded so far, never below 0, nothing once cancelled; net is the step."""
    orders = defaultdict(list)
    for row in events:
        row["net_cents"] = 0
        if row["order_id"] is not None:
            orders[row["order_id"]].append(row)
        elif row["event_type"] == "order":
            row["net_cents"] = row["amount_cents"]
    for lines in orders.values():
        paid = refunded = worth = 0
        cancelled = False
        for row in sorted(lines, key=lambda row: (row["event_ts"], row["event_type"] != "order", row["event_id"])):
            paid += row["amount_cents"] if row["event_type"] == "order" else 0
            refunded += row["amount_cents"] if row["event_type"] == "refund" else 0
            cancelled = cancelled or row["event_type"] == "cancellation"
            before, worth = worth, 0 if cancelled else max(0, paid - refunded)
            row["net_cents"] = worth - before


def with_members(events: list[Row], links: list[Row]) -> None:
    """A guest is the member its device's newest link names at that moment, if it names one."""
    for row in events:
        row["stitched"] = False
        if row["member_id"] is None:
            past = [
                (link["valid_from"], link["member_id"] or "")
                for link in links
                if link["device_id"] == row["device_id"] and link["valid_from"] <= row["event_ts"]
            ]
            row["member_id"] = max(past, default=(None, None))[1] or None
            row["stitched"] = row["member_id"] is not None


def with_visits(events: list[Row], shop: Shop) -> None:
    """Sessions cut by silence, and flags on the events of days that break a rule."""
    visits = defaultdict(list)
    for row in events:
        visits[row["member_id"] or row["device_id"], row["day"]].append(row)
    for visit in visits.values():
        began = last = None
        for row in sorted(visit, key=lambda row: row["event_ts"]):
            if shop.gap_minutes is not None and row["event_type"] in BROWSING and row["session_id"] is None:
                if last is None or row["event_ts"] - last > timedelta(minutes=shop.gap_minutes):
                    began = row["event_ts"]
                last = row["event_ts"]
                row["session_id"] = f"cut-{began:%Y%m%dT%H%M%S}"
        rules = [rule for rule in shop.rules if rule.table == "member_day"]
        broken = next((rule.name for rule in rules if not rule.holds(day_measures(visit))), None)
        for row in visit:
            row["flag"] = row["flag"] or broken


def day_measures(visit: list[Row]) -> Row:
    """What a rule on ``member_day`` may speak of."""
    moments, types = [row["event_ts"] for row in visit], Counter(row["event_type"] for row in visit)
    return {
        "num_events": len(visit),
        "num_order_lines": types["order"],
        "num_views": types["view"],
        "num_cart_adds": types["cart_add"],
        "spend_cents": sum(row["net_cents"] for row in visit),
        "active_minutes": (max(moments) - min(moments)).total_seconds() / 60,
    }


def member_days(events: Iterable[Row]) -> list[Row]:
    """Sums per member and day over the events that have a member and no flag."""
    days = defaultdict(list)
    for row in events:
        if row["member_id"] is not None and row["flag"] is None:
            days[row["member_id"], row["day"]].append(row)
    return [shown({"member_id": member, "day": day} | tile(rows)) for (member, day), rows in days.items()]


def tile(rows: list[Row]) -> Row:
    """The measures of one member and day."""
    orders, types = [row for row in rows if row["event_type"] == "order"], Counter(row["event_type"] for row in rows)
    discounts: Counter[str] = Counter()
    for row in orders:
        discounts[row["order_id"] or row["event_id"]] += row["discount_cents"]
    sessions = [row for row in rows if row["event_type"] in BROWSING and row["session_id"] is not None]
    return {
        "num_orders": len(discounts),
        "num_items": sum(row["quantity"] for row in orders),
        "spend_cents": sum(row["net_cents"] for row in rows),
        "discount_cents": sum(row["discount_cents"] for row in orders),
        "num_activities": types["activity"],
        "num_views": types["view"],
        "num_searches": types["search"],
        "num_cart_adds": types["cart_add"],
        "num_coupons": types["coupon"],
        "num_discounted_orders": sum(cents > 0 for cents in discounts.values()),
        "num_sessions": len({row["session_id"] for row in sessions}),
        "num_cart_sessions": len({row["session_id"] for row in sessions if row["event_type"] == "cart_add"}),
        "num_refunds": types["refund"] + types["cancellation"],
        "points": sum(row["points"] for row in rows),
        "num_events": len(rows),
    }


def members(profiles: list[Row], events: list[Row], zone: str) -> list[Row]:
    """Profile history; who has events before any profile gets a row from the first event's day."""
    deliveries: dict[str, dict[date, list[tuple[date, Row]]]] = defaultdict(lambda: defaultdict(list))
    for row in profiles:
        received = row["received_ts"]
        known = row["valid_from"] if received is None else max(row["valid_from"], local_day(received, zone))
        deliveries[row["member_id"]][row["valid_from"]].append((known, row["attributes"]))
    history = {
        member: {day: {"declared": True, **delivered(rows)} for day, rows in days.items()}
        for member, days in deliveries.items()
    }
    seen: dict[str, date] = {}
    for row in events:
        if row["member_id"] is not None:
            seen[row["member_id"]] = min(seen.get(row["member_id"], date.max), row["day"])
    for member, first in seen.items():
        profiled = history.setdefault(member, {})
        if first not in profiled and first < min((p["known_from"] for p in profiled.values()), default=date.max):
            history[member][first] = {"declared": False, **delivered([(first, {})])}
    rows = []
    for member, days in history.items():
        for day in days:
            until = min((later for later, profile in days.items() if later > day and profile["declared"]), default=None)
            rows.append(shown({"member_id": member, "valid_from": day, "valid_to": until} | days[day]))
    return rows


def delivered(rows: list[tuple[date, Row]]) -> Row:
    """One profile of all its deliveries, with the days since when it, and what came later, was known."""
    attributes: Row = {}
    for _, given in rows:
        attributes = largest(attributes, given)
    known_from = min(known for known, _ in rows)
    since = {name: min(k for k, given in rows if given.get(name) == value) for name, value in attributes.items()}
    corrected = {name: str(day) for name, day in since.items() if day > known_from}
    return {"attributes": attributes, "known_from": known_from, "corrected_from": corrected}


def products(rows: list[Row]) -> list[Row]:
    """The newest row of each product, the largest text where several are; without a date a row is the oldest."""
    newest: dict[str, Row] = {}
    for row in rows:
        known = newest.get(row["product_id"])
        age = row["valid_from"] or date.min
        if known is None or age > (known["valid_from"] or date.min):
            newest[row["product_id"]] = dict(row)
        elif age == (known["valid_from"] or date.min):
            known["category"] = max([known["category"], row["category"]], key=lambda text: text or "")
            known["attributes"] = largest(known["attributes"], row["attributes"])
    return [shown({name: row[name] for name in (*KINDS["products"], "attributes")}) for row in newest.values()]


def largest(left: Mapping[str, str], right: Mapping[str, str]) -> dict[str, str]:
    """Attributes joined, the largest text winning."""
    return {name: max(left.get(name, ""), right.get(name, "")) for name in {*left, *right}}


def late_row(row: Row) -> Row:
    """A row of ``late_events``, but for the batch."""
    names = ("event_id", "member_id", "event_type", "event_ts", "day", "received_ts", "amount_cents", "source")
    return shown({name: row[name] for name in names})


def local_day(moment: datetime, zone: str) -> date:
    """The business day of an instant; one out of any range has none that matters."""
    if not 1900 < moment.year < 9000:
        return moment.date()
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()


def plain_text(value: Any) -> str:
    """A value as Spark casts it to text."""
    if isinstance(value, datetime):
        return str(value).rstrip("0") if value.microsecond else str(value)
    return f"{value:.6f}" if isinstance(value, Decimal) else str(value)


def shown(row: Row) -> Row:
    """A row as the tests read it from a table."""
    pairs = {name: value for name, value in row.items() if isinstance(value, dict)}
    texts = {name: plain_text(value) for name, value in row.items() if isinstance(value, date)}
    entries = {n: [{"key": k, "value": v} for k, v in sorted(p.items())] for n, p in pairs.items()}
    return row | texts | {n: json.dumps(e, separators=(",", ":"), ensure_ascii=False) for n, e in entries.items()}
