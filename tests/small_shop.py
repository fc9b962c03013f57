"""A small seeded shop for the end-to-end tests: CSV orders, JSON-lines activities and profiles, with known bad rows."""

import csv
import json
import shutil
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

FIRST_DAY, NUM_DAYS, NUM_MEMBERS = date(2024, 1, 1), 300, 150
BASE_YAML = Path(__file__).parent.parent / "conf" / "base.yaml"
# A protected attribute, which the model does not read: two large groups, one of 15 members, and 15 who do not say.
AGES = (*("under 40", "40 or more") * 4, "90", None)
ORDER_COLUMNS = ["order_id", "line", "customer", "ordered_at", "sku", "units", "paid", "rebate"]

SHOP_YAML = """
money: {{currency: EUR, minor_unit_digits: 2}}
timeline:
  business_zone: Europe/Berlin
  data_through: 2024-10-26
  train: {{first: 2024-05-04, last: 2024-08-03, every_days: 7}}
  validation: 2024-08-31
  test: 2024-09-28
  score: [2024-09-28, 2024-10-26]
pseudonyms: {{key: "a key for tests only, 32 bytes long"}}
sources:
  orders:
    format: csv
    path: {folder}/orders.csv
    options: {{header: "true"}}
    time_zone: Europe/Berlin
    maps:
      - to: events
        columns:
          event_id: concat_ws('-', order_id, line)
          member_id: customer
          event_type: "'order'"
          event_ts: ordered_at
          order_id: order_id
          product_id: sku
          quantity: units
          amount: paid
          discount: rebate
  visits:
    format: json
    path: {folder}/visits.json
    schema: "visit string, customer string, at string, kind string"
    maps:
      - to: events
        where: kind <> 'test'
        columns: {{event_id: visit, member_id: customer, event_type: "'activity'", event_ts: at}}
  customers:
    format: json
    path: {folder}/customers.json
    schema: "customer string, since date, city string, age string"
    maps:
      - to: members
        columns: {{member_id: customer, valid_from: since, city: city, age: age}}
levels:
  metric: spend_cents
  window_days: 91
  programme:
    - {{name: base, at_least: 0}}
    - {{name: silver, at_least: 15000}}
    - {{name: gold, at_least: 40000}}
features:
  windows_days: [7, 28, 91]
  sequence_weeks: 4
  sequence_events: 8
  profile: {{city: category, age: category}}
  holidays: [2024-05-01, 2024-12-25]
  more:
    - {{measure: spend_cents, aggregate: trend, window_days: 28}}
    - {{measure: num_orders, aggregate: gap_mean, window_days: 91}}
    - {{measure: discount_cents, aggregate: share, window_days: 91, of: [discount_cents, spend_cents]}}
    - {{measure: as_of_date, aggregate: days_to_holiday}}
    - {{measure: products, aggregate: num_distinct, window_days: 91}}
    - {{measure: num_events_by_hour, aggregate: entropy, window_days: 91}}
examples: {{files_per_split: 2}}
evaluation: {{protected: [age], call_by: age}}
model: {{hidden: [16], calibration: [level, p_buy, spend]}}
training: {{how: inline, num_processes: 2, batch_rows: 256, max_epochs: 24, learning_rate: 0.01}}
report: {{title: A small shop, num_movers: 5}}
"""


@dataclass
class Shop:
    """Rows of the three files, in writing order."""

    orders: list[list[object]] = field(default_factory=list)
    visits: list[dict[str, str]] = field(default_factory=list)
    customers: list[dict[str, str | None]] = field(default_factory=list)


def write_small_shop(folder: Path, seed: int = 3) -> Path:
    """Write the files, `base.yaml` and `small_shop.yaml` into ``folder``; returns the YAML's path."""
    shop = make_shop(seed)
    with (folder / "orders.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([ORDER_COLUMNS, *shop.orders])
    for name, rows in (("visits", shop.visits), ("customers", shop.customers)):
        lines = [json.dumps(row) for row in rows]
        (folder / f"{name}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (folder / "visits.json").open("a", encoding="utf-8") as file:
        file.write('{"visit": "v-cut", "customer": "cx00\n')
    shutil.copy(BASE_YAML, folder / "base.yaml")
    path = folder / "small_shop.yaml"
    path.write_text(SHOP_YAML.format(folder=folder), encoding="utf-8")
    return path


def make_shop(seed: int) -> Shop:
    """Members with their own rate and basket; the first 10 never order, one order line in 50 is repeated."""
    rng, shop = np.random.default_rng(seed), Shop()
    for member in range(NUM_MEMBERS):
        name = f"cx{member:03d}"
        city, age = str(rng.choice(["Ulm", "Kiel"])), AGES[member % len(AGES)]
        shop.customers.append({"customer": name, "since": str(FIRST_DAY), "city": city, "age": age})
        if member >= 10:
            _add_orders(shop, rng, name)
    _add_broken_rows(shop)
    return shop


def _add_orders(shop: Shop, rng: np.random.Generator, name: str) -> None:
    rate, basket = rng.gamma(2.0, 0.03), rng.gamma(4.0, 12.0)
    stops = rng.integers(120, 900)
    for day in range(min(NUM_DAYS, stops)):
        if rng.random() >= rate:
            continue
        at = datetime.combine(FIRST_DAY, datetime.min.time()) + timedelta(days=day, hours=int(rng.integers(8, 20)))
        order = f"o{name}{day:03d}"
        for line in range(int(rng.integers(1, 4))):
            paid = f"{basket * rng.uniform(0.3, 1.2):.2f}"
            shop.orders.append([order, line, name, at.isoformat(" "), f"s{rng.integers(40)}", 1, paid, "0.50"])
            if rng.random() < 0.02:
                shop.orders.append(shop.orders[-1])
        shop.visits.append({"visit": f"v{order}", "customer": name, "at": at.isoformat(), "kind": "app"})


def _add_broken_rows(shop: Shop) -> None:
    good = ["o-bad", 0, "cx011", "2024-05-05 10:00:00", "s1", 1, "9.99", "0.00"]
    for column, value in ((2, ""), (3, "yesterday"), (5, "many"), (6, "-3.00"), (6, "NaN")):
        row = list(good)
        row[0], row[column] = f"o-bad-{column}-{value}", value
        shop.orders.append(row)
    shop.visits.append({"visit": "v-test", "customer": "cx011", "at": "2024-05-05T10:00:00", "kind": "test"})


BROKEN = {
    "null_member_id": 1,
    "wrong_type_event_ts": 1,
    "wrong_type_quantity": 1,
    "negative_amount": 1,
    "wrong_type_amount": 1,
    "corrupt_row": 1,
}
