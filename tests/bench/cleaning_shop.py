"""A shop to be cleaned: a click stream, order lines, device links and rates as CSV files, with the dirt shops have.

Every value is a hash of its row's number and the column's name, so that a shop of one size is always the same. Clicks
come in sessions of five, a fifth of them by guests; orders have three lines, in local time and two currencies. About
1 % of the rows are there twice, 0.1 % come again with another payload, 0.5 % are broken, 3 % of the orders get a
refund.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import yaml

from tests.ingest_shop import BASE_YAML, SETTINGS

ZONE = "Europe/Berlin"
ROWS_PER_FILE = 500_000
CLICK_SHARE = 0.8
CLICKS_PER_SESSION, LINES_PER_ORDER = 5, 3

# u: uniform in [0, 1); pick: an index below a number. A hash in hexadecimal is the same in every version of DuckDB.
MACROS = """
CREATE MACRO u(i, name) AS ('0x' || left(md5(name || i), 12))::BIGINT / 281474976710656.0;
CREATE MACRO pick(i, name, n) AS floor(u(i, name) * n)::BIGINT;
-- Some members come far more often than others.
CREATE MACRO member_of(i, n) AS 'm' || floor(u(i, 'member') * u(i, 'member') * n)::BIGINT;
CREATE MACRO moment(i) AS TIMESTAMP '2024-01-01 06:00:00' + to_days(pick(i, 'day', 360)::INTEGER)
    + to_seconds(pick(i, 'second', 61000));
-- Of a row's copies the second may differ: 1 is the row itself.
CREATE MACRO copies(i) AS CASE WHEN u(i, 'copies') < 0.011 THEN [1, 2] ELSE [1] END;
CREATE MACRO differs(i, copy) AS copy = 2 AND u(i, 'copies') >= 0.010;
CREATE MACRO broken(i, low, high) AS u(i, 'broken') >= low AND u(i, 'broken') < high;
"""

CLICKS = """
WITH clicks AS (
    SELECT i, copy, i // $per_session AS s FROM (SELECT i, unnest(copies(i)) AS copy FROM range($low, $high) t(i))
)
SELECT
    'c' || i AS event_id,
    CASE WHEN broken(i, 0.004, 0.005) OR u(s, 'guest') < 0.2 THEN NULL
         WHEN u(i, 'space') < 0.001 THEN member_of(s, $members) || ' '
         ELSE member_of(s, $members) END AS user_id,
    CASE WHEN NOT broken(i, 0.004, 0.005) THEN 'd' || member_of(s, $members) || pick(s, 'device', 2) END AS device,
    CASE WHEN broken(i, 0.003, 0.004) THEN 'teleport'
         ELSE ['page_view', 'page_view', 'page_view', 'search', 'add_to_cart', 'remove_from_cart', 'begin_checkout',
               'heartbeat'][1 + pick(i, 'kind', 8)] END AS event,
    CASE WHEN broken(i, 0.000, 0.001) THEN 'yesterday'
         WHEN broken(i, 0.001, 0.002) THEN '1970-01-01T00:00:00Z'
         WHEN broken(i, 0.002, 0.003) THEN '2099-13-41T10:00:00Z'
         ELSE strftime(
             moment(s) + to_seconds((i % $per_session) * 90 + pick(i, 'pause', 60)
                 + CASE WHEN u(i, 'away') < 0.05 THEN 3600 ELSE 0 END + CASE WHEN differs(i, copy) THEN 7 ELSE 0 END),
             '%Y-%m-%dT%H:%M:%SZ') END AS "timestamp",
    'p' || pick(i, 'product', 5000) AS product,
    ['web', 'app'][1 + pick(s, 'channel', 2)] AS channel
FROM clicks
"""

LINES = """
WITH lines AS (
    SELECT i, copy, i // $per_order AS o, false AS refund
    FROM (SELECT i, unnest(copies(i)) AS copy FROM range($low, $high) t(i))
    UNION ALL
    SELECT i, 1, i // $per_order, true FROM range($low, $high) t(i)
    WHERE i % $per_order = 0 AND u(i // $per_order, 'refund') < 0.03
)
SELECT
    CASE WHEN refund THEN 'r' ELSE 'l' END || i AS line_id,
    'o' || o AS order_no,
    member_of(o, $members) AS customer,
    CASE WHEN broken(i, 0.000, 0.001) THEN 'GIFT' WHEN refund THEN 'RETURN' ELSE 'SALE' END AS kind,
    CASE WHEN broken(i, 0.001, 0.002) THEN ''
         ELSE strftime(moment(o) + to_days(CASE WHEN refund THEN 1 + pick(o, 'back', 20) ELSE 0 END::INTEGER),
                       '%Y-%m-%d %H:%M:%S') END AS ordered_at,
    'p' || pick(i, 'product', 5000) AS product,
    1 + pick(i, 'units', 4) AS units,
    CASE WHEN broken(i, 0.002, 0.003) THEN 'free' WHEN broken(i, 0.003, 0.004) THEN '-5.00'
         ELSE printf('%d.%02d', 1 + pick(i, 'euros', 80),
                     CASE WHEN differs(i, copy) THEN 99 ELSE pick(i, 'cents', 99) END) END AS paid,
    printf('%d.%02d', pick(i, 'rebate', 5), pick(i, 'rebate cents', 100)) AS rebate,
    CASE WHEN u(o, 'currency') < 0.1 THEN 'USD' ELSE 'EUR' END AS currency
FROM lines
"""

# A device may change hands once, and a quarter have no known owner.
LINKS = """
SELECT 'dm' || d // 2 || d % 2 AS device,
       CASE WHEN n = 1 THEN 'm' || d // 2 WHEN u(d, 'sold') < 0.5 THEN 'm' || pick(d, 'buyer', $members) END AS member,
       strftime(moment('link' || d) + to_days(90 * (n - 1)::INTEGER), '%Y-%m-%dT%H:%M:%SZ') AS linked_at
FROM (SELECT d, unnest(CASE WHEN u(d, 'second') < 0.05 THEN [1, 2] ELSE [1] END) AS n FROM range(2 * $members) t(d))
WHERE u(d, 'known') < 0.75
"""

# One day has no rate: its orders in dollars cannot be valued.
RATES = """
SELECT 'USD' AS currency, DATE '2024-01-01' + d::INTEGER AS day,
       printf('%.6f', 0.90 + u(d, 'rate') / 20) AS rate
FROM range(400) t(d) WHERE d <> 100
"""

SOURCES = {
    "clicks": {
        "format": "csv",
        "options": {"header": "true"},
        "event_types": {
            "page_view": "view",
            "search": "search",
            "add_to_cart": "cart_add",
            "remove_from_cart": "cart_remove",
            "begin_checkout": "checkout",
            "heartbeat": "ignore",
        },
        "maps": [
            {
                "to": "events",
                "columns": {
                    "event_id": "event_id",
                    "member_id": "user_id",
                    "device_id": "device",
                    "event_type": "event",
                    "event_ts": "timestamp",
                    "product_id": "product",
                    "channel": "channel",
                },
            }
        ],
    },
    "lines": {
        "format": "csv",
        "options": {"header": "true"},
        "time_zone": ZONE,
        "event_types": {"SALE": "order", "RETURN": "refund"},
        "maps": [
            {
                "to": "events",
                "columns": {
                    "event_id": "line_id",
                    "member_id": "customer",
                    "event_type": "kind",
                    "event_ts": "ordered_at",
                    "order_id": "order_no",
                    "product_id": "product",
                    "quantity": "units",
                    "amount": "paid",
                    "discount": "rebate",
                    "currency": "currency",
                },
            }
        ],
    },
    "links": {
        "format": "csv",
        "options": {"header": "true"},
        "maps": [
            {"to": "devices", "columns": {"device_id": "device", "member_id": "member", "valid_from": "linked_at"}}
        ],
    },
    "rates": {
        "format": "csv",
        "options": {"header": "true"},
        "maps": [{"to": "rates", "columns": {"currency": "currency", "day": "day", "rate": "rate"}}],
    },
}


@dataclass(frozen=True)
class CleaningShop:
    """A shop of about ``num_events`` events and a hundredth as many members in ``folder``."""

    folder: Path
    num_events: int

    @property
    def config(self) -> Path:
        """The shop's YAML."""
        return self.folder / "shop.yaml"

    @property
    def tables(self) -> Path:
        """Where the jobs write the shop's tables."""
        return self.folder / "out" / "shop" / "tables"

    def make(self) -> None:
        """Write the source files and the YAML."""
        clicks, members = int(self.num_events * CLICK_SHARE), self.num_events // 100
        with duckdb.connect() as db:
            db.execute("SET threads = 2")
            db.execute(MACROS)
            per_session, per_order = {"per_session": CLICKS_PER_SESSION}, {"per_order": LINES_PER_ORDER}
            self._put(db, "clicks", CLICKS, clicks, {**per_session, "members": members})
            self._put(db, "lines", LINES, self.num_events - clicks, {**per_order, "members": members})
            self._put(db, "links", LINKS, None, {"members": members})
            self._put(db, "rates", RATES, None, {})
        self._configure()

    def _put(
        self, db: duckdb.DuckDBPyConnection, source: str, query: str, num_rows: int | None, values: dict[str, int]
    ) -> None:
        folder = self.folder / source
        folder.mkdir(parents=True)
        for number, low in enumerate(range(0, num_rows or 1, ROWS_PER_FILE)):
            span = {} if num_rows is None else {"low": low, "high": min(low + ROWS_PER_FILE, num_rows)}
            db.execute(f"COPY ({query}) TO '{folder}/{number:04}.csv' (HEADER)", {**values, **span})

    def _configure(self) -> None:
        (self.folder / "base.yaml").write_text(BASE_YAML.read_text(encoding="utf-8"), encoding="utf-8")
        sources = {name: {"path": str(self.folder / name), **source} for name, source in SOURCES.items()}
        timeline = {**SETTINGS["timeline"], "business_zone": ZONE}  # type: ignore[dict-item]
        shop = {**SETTINGS, "timeline": timeline, "pseudonyms": {}, "sources": sources}
        shop |= {"pseudonyms": {"method": "hmac_sha256"}, "output_dir": str(self.folder / "out")}
        self.config.write_text(yaml.safe_dump(shop, sort_keys=False), encoding="utf-8")
