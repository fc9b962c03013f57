"""Silver next to plain Python: random rows, good and bad, in one load and in batches of any order."""

import random
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.ingest_oracle import KINDS, Row, Rule, Shop, Source, silver
from tests.ingest_shop import TO_DAYS, IngestShop, counted, identity_map, json_source

pytestmark = pytest.mark.spark

ZONE = "Europe/Berlin"
ATTRIBUTES = {"members": ("city", "age"), "products": ("brand",)}
COLUMNS = {table: (*kinds, *ATTRIBUTES.get(table, ())) for table, kinds in KINDS.items()}
# The shop's own words for event types; `ping` is ignored, `?` is unknown.
WORDS = {"look": "view", "find": "search", "add": "cart_add", "buy": "order", "back": "refund", "stop": "cancellation"}
WORDS |= {"ping": "ignore", "bonus": "points", "visit": "activity"}
RULES = (
    Rule("too_dear", "events", "flag", "amount <= 900", lambda row: row["amount"] <= 900),
    Rule("no_kiosk", "events", "quarantine", "coalesce(channel, '') <> 'kiosk'", lambda row: row["channel"] != "kiosk"),
    Rule("robot", "member_day", "flag", "num_events <= 9", lambda day: day["num_events"] <= 9),
)
SHOP = Shop(
    sources=(
        # No ids: a repeated line is the same event; words of its own, local time, amounts in minor units.
        Source(
            "clicks",
            {
                "events": [column for column in COLUMNS["events"] if column != "event_id"],
                **{name: COLUMNS[name] for name in ("members", "products", "devices")},
            },
            zone=ZONE,
            minor=True,
            words=WORDS,
        ),
        Source(
            "orders",
            {name: COLUMNS[name] for name in ("events", "members", "rates")},
            zone="America/New_York",
            currency="USD",
        ),
    ),
    written=datetime(2025, 6, 15),
    zone=ZONE,
    late_days=2,
    gap_minutes=30,
    max_rate_age_days=1,
    rules=RULES,
)
MEMBERS = ("ann", " ann ", "a\u0000nn", "Zo\u00eb", "Zoe\u0308", "\uff46\uff55\uff4c\uff4c", "full", "007", "7", "bob")
DEVICES = ("d1", "d2", "\uff44\uff11", None)
# What comes instead of a good value now and then.
BAD: Mapping[str, tuple[object, ...]] = {
    "event_ts": ("0001-01-01 00:00:00", "9999-12-31 00:00:00", "1970-01-01", "2093-01-01", "soon", None, "12:30", "  "),
    "received_ts": ("later", "2024-04-09 10:00:00"),
    "amount": ("NaN", "inf", "-Infinity", "-3", "1e400", "999999999999999", "12,50", "", "abc", "0"),
    "discount": ("NaN", "-1", "x"),
    "quantity": ("2.5", "-1", "many", "9999999999", "99999999999999999999", ""),
    "points": ("1e3", "-5", "ten"),
    "rating": ("good", "-1e400", "NaN"),
    "currency": ("XXY", " usd ", "", "eur", "GBP"),
    "event_type": ("?", None, "  ", "ORDER"),
    "event_id": (None, " ", "e" * 513, "\uff45\uff11"),
    "member_id": (None, "", "m" * 513),
    "order_id": ("o" * 513, "\uff4f\uff11"),
    "channel": ("kiosk", "", "\U0001f6d2"),
    "text": ("line\nbreak", '"quoted"', "x" * 200),
    "valid_from": ("31.12.2024", None, "2024-02-30"),
    "day": ("today", None),
    "rate": ("0", "-1", "free"),
    "product_id": (None, ""),
}


class Draw(random.Random):
    """Random rows of the shop."""

    def lines(self, source: str, number: int) -> list[Row | str]:
        """Rows for every table of a source, some of them no rows at all."""
        tables = next(list(s.maps) for s in SHOP.sources if s.name == source)
        made: list[Row | str] = []
        for _ in range(number):
            if self.random() < 0.03:
                made.append(self.choice(['{"to": "events", "event_id"', "[1, 2", "nothing"]))
                continue
            table = self.choice([*tables, *["events"] * 5])
            row = {"to": table} | self.row(source, table)
            if self.random() < 0.25:
                row |= {name: self.choice(BAD[name]) for name in self.sample(sorted(BAD), 3) if name in row}
            made.append({name: value for name, value in row.items() if value is not None})
        return made

    def row(self, source: str, table: str) -> dict[str, object]:
        """A good row, its values few enough to meet each other again and again."""
        day = f"2024-{self.choice(['03-29', '03-30', '03-31', '04-01', '10-26', '10-27', '10-28'])}"
        if table == "rates":
            return {
                "currency": self.choice(["USD", "JPY", "KWD"]),
                "day": day,
                "rate": self.choice(["0.91", "3", "0.0061"]),
            }
        if table == "members":
            place = {"city": self.choice(["Ulm", "K\u00f6ln", None]), "age": self.choice(["30", None])}
            received = self.choice([None, "2024-03-30 23:30:00", "2024-04-01 09:00:00", "2024-11-02 09:00:00Z"])
            return {"member_id": self.choice(MEMBERS), "valid_from": day, "received_ts": received, **place}
        if table == "products":
            what = {"category": self.choice(["tea", "pots", None]), "brand": self.choice(["x", "y", None])}
            return {"product_id": self.choice("pqr"), "valid_from": self.choice([day, None]), **what}
        if table == "devices":
            return {
                "device_id": self.choice(DEVICES),
                "member_id": self.choice([*MEMBERS, None]),
                "valid_from": self.moment(day),
            }
        event_type = self.choice([*WORDS, "look", "look", "buy", "buy"])
        return {
            "event_id": f"e{self.randrange(90)}",
            "member_id": self.choice([*MEMBERS, None, None]),
            "device_id": self.choice(DEVICES),
            "event_type": event_type if source == "clicks" else WORDS[event_type],
            "event_ts": self.moment(day),
            "received_ts": self.choice([None, None, "2024-04-01 09:00:00", "2024-10-28 09:00:00Z"]),
            "order_id": self.choice(["o1", "o2", "o3", None]),
            "product_id": self.choice("pq"),
            "quantity": self.choice(["1", "3", None]),
            "amount": self.choice(["100", "49.995", "0.005", "1000.5", "7", None]),
            "discount": self.choice(["1", None]),
            "currency": self.choice(["EUR", "USD", "JPY", "KWD", None]),
            "points": self.choice(["5", None]),
            "rating": self.choice(["4.5", None]),
            "session_id": self.choice(["s1", None, None]),
            "channel": self.choice(["web", None]),
            "detail": self.choice(["tea", None]),
        }

    def moment(self, day: str) -> str:
        """An instant of a day, clock changes among them, in one of the ways shops write it."""
        clock = self.choice(["00:10:00", "02:30:00", "02:55:00", "03:05:00.250", "12:00:00", "12:29:00", "23:40:00"])
        return f"{day}{self.choice(' T')}{clock}{self.choice(['', '', 'Z', '+02:00'])}"


def open_shop(spark: SparkSession, folder: Path) -> IngestShop:
    schema = ", ".join(["`to` string", *(f"`{c}` string" for c in sorted({c for cs in COLUMNS.values() for c in cs}))])
    sources = {
        source.name: json_source(
            source.zone,
            schema=schema,
            maps=[identity_map(table, columns, f"`to` = '{table}'") for table, columns in source.maps.items()],
            **({"currency": source.currency} if source.currency else {}),
            **({"amounts_in": "minor"} if source.minor else {}),
            **({"event_types": dict(source.words)} if source.words else {}),
        )
        for source in SHOP.sources
    }
    rules = [{name: getattr(rule, name) for name in ("name", "table", "severity", "expression")} for rule in RULES]
    settings: dict[str, dict[str, object]] = {
        "timeline": {"business_zone": ZONE},
        "ingest": {"late_days": 2, "session_gap_minutes": 30, "max_rate_age_days": 1},
        "quality": {"max_quarantine_share": 1, "rules": rules},
    }
    return IngestShop(spark, folder, sources, settings)


def draw(seed: int, number: int) -> dict[str, list[Row | str]]:
    rng = Draw(seed)
    return {source.name: rng.lines(source.name, number) for source in SHOP.sources}


def differences(shop: IngestShop, lines: Mapping[str, list[Row | str]]) -> dict[str, tuple[list[object], list[object]]]:
    """By table: rows that plain Python has and silver does not, and the other way round."""
    expected, without = silver(SHOP, lines), {"late_events": ["batch", "file"]}
    found = {}
    for table in ("events", "members", "products", "late_events", "member_days"):
        want, have = counted(expected[table]), shop.counted(table, without=without.get(table, ()))
        if want != have:
            found[table] = (sorted((want - have), key=str)[:5], sorted((have - want), key=str)[:5])
    want_rules = Counter((row["source"], row["target"], row["rule"]) for row in expected["quarantine"])
    have_rules = Counter((row["source"], row["target"], row["rule"]) for row in shop.rows("quarantine"))
    if want_rules != have_rules:
        found["quarantine"] = (sorted((want_rules - have_rules).items()), sorted((have_rules - want_rules).items()))
    return found


@pytest.mark.parametrize("seed", [1])
def test_one_load_of_everything(spark: SparkSession, tmp_path: Path, seed: int):
    lines, shop = draw(seed, 300), open_shop(spark, tmp_path)
    for name, rows in lines.items():
        shop.put(name, "all.json", rows)
    assert shop.job(*TO_DAYS) == 0
    assert differences(shop, lines) == {}


@pytest.mark.parametrize("seed", [3])
def test_batches_in_any_order_give_the_tables_of_one_load(spark: SparkSession, tmp_path: Path, seed: int):
    """Every row comes in one of three runs, some again in another; every run is right for what came by then."""
    lines, shop, rng = draw(seed, 280), open_shop(spark, tmp_path), Draw(seed)
    come: dict[str, list[Row | str]] = {name: [] for name in lines}
    for run in range(3):
        for name, rows in lines.items():
            again = [row for row in come[name] if rng.random() < 0.05]
            part = [*rows[run::3], *again]
            rng.shuffle(part)
            come[name] += part
            shop.put(name, f"{run}.json", part)
        assert shop.job(*TO_DAYS) == 0
        assert differences(shop, come) == {}, run
