"""A dozen members with a year of seeded events as silver has them: points by category, levels by hand, refunds."""

import json
import random
from datetime import date, datetime, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

from memberlevel_spark.config import Config, load_config
from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.features.point_in_time import Sources
from memberlevel_spark.schemas import EVENTS, MEMBERS, PRODUCTS

FIRST_DAY, NUM_DAYS = date(2024, 1, 1), 300
JOURNEY = Path(__file__).parent.parent / "conf" / "complete_journey.yaml"
TIMELINE = {
    "business_zone": "Europe/Berlin",
    "data_through": str(FIRST_DAY + timedelta(days=NUM_DAYS - 1)),
    "train": {"first": "2024-05-04", "last": "2024-06-01", "every_days": 14},
    "validation": "2024-06-29",
    "test": "2024-07-27",
    "score": ["2024-10-26"],
}
LEVELS = LevelsConfig.model_validate(
    {
        "reach": "any",
        "window": {"days": 60},
        "manual": {"level": "tier", "until": "tier_until"},
        "earn": {"per_currency_unit": 1, "multipliers": [{"times": 3, "category": "wine"}]},
        "programme": [
            {"name": "base"},
            {"name": "silver", "at_least": {"points": 150, "num_orders": 4}},
            {"name": "gold", "at_least": {"points": 400, "num_orders": 9}},
        ],
    }
)


MORE = [
    {"measure": "spend_cents_by_category", "aggregate": "part_share", "window_days": 28, "part": 0},
    {"measure": "num_events_by_hour", "aggregate": "entropy", "window_days": 28},
    {"measure": "products", "aggregate": "num_distinct", "window_days": 28},
]


def tiny_config(**sections: object) -> Config:
    """Complete Journey's configuration with the tiny shop's timeline, levels and short windows."""
    options = [f"timeline={json.dumps(TIMELINE)}", "features.windows_days=[28]", "features.sequence_weeks=2"]
    options += [
        "features.profile={size: number}",
        "features.measures=[spend_cents]",
        f"features.more={json.dumps(MORE)}",
    ]
    return load_config(JOURNEY, options, {}).model_copy(update={"levels": LEVELS, **sections})


def tiny_sources(spark: SparkSession, seed: int = 1) -> Sources:
    """Member 0 never does anything, 1 has no order after May, 11 is known from August on."""
    rng = random.Random(seed)
    events = [event for member in range(1, 12) for event in _events(rng, member)]
    return Sources(
        spark.createDataFrame(events, EVENTS.schema),
        spark.createDataFrame(_members(), MEMBERS.schema),
        spark.createDataFrame(_products(), PRODUCTS.schema),
    )


def _events(rng: random.Random, member: int) -> list[dict[str, object]]:
    first, last = (220, NUM_DAYS) if member == 11 else (0, 150 if member == 1 else NUM_DAYS)
    days = sorted(rng.sample(range(first, last), 8 + 3 * member))
    return [event_row(f"m{member}", day, rng, f"e{member}-{day}") for day in days]


def event_row(member: str, day: int, rng: random.Random, event_id: str) -> dict[str, object]:
    """One row of ``events``: mostly orders, now and then a refund, an activity or a view."""
    kind = rng.choices(("order", "activity", "view", "refund"), (6, 2, 1, 1))[0]
    cents = rng.randrange(500, 9000) if kind in ("order", "refund") else 0
    at = FIRST_DAY + timedelta(days=day)
    row: dict[str, object] = dict.fromkeys(EVENTS.schema.names)
    row |= {
        "event_id": event_id,
        "member_id": member,
        "event_type": kind,
        "event_ts": datetime(at.year, at.month, at.day, rng.randrange(6, 20)),
        "day": at,
        "month": at.replace(day=1),
        "order_id": f"o-{event_id}" if cents else None,
        "product_id": f"p{rng.randrange(6)}" if cents else None,
        "quantity": rng.randrange(1, 4),
        "amount_cents": cents,
        "discount_cents": rng.randrange(0, 200) if kind == "order" else 0,
        "net_cents": -(cents // 3) if kind == "refund" else cents,
        "points": 0,
        "session_id": f"s-{event_id}" if kind == "view" else None,
        "stitched": False,
        "flag": "robot" if rng.random() < 0.03 else None,
        "source": "tiny",
    }
    return row


def _members() -> list[tuple[object, ...]]:
    """Those of ``_profiles``; of m4 the shop learned late that they had moved, of m5 how many they are."""
    learned, moved = date(2024, 7, 20), date(2024, 5, 1)
    others = [(*row, row[1], {}) for row in _profiles() if row[0] not in ("m4", "m5")]
    return [
        *others,
        ("m4", FIRST_DAY, moved, True, {"city": "Ulm", "size": "1"}, FIRST_DAY, {}),
        ("m4", moved, None, True, {"city": "Kiel", "size": "2"}, learned, {}),
        ("m5", FIRST_DAY, None, True, {"city": "Ulm", "size": "2"}, FIRST_DAY, {"size": learned}),
    ]


def _profiles() -> list[tuple[str, date, date | None, bool, dict[str, str]]]:
    known = [(f"m{number}", FIRST_DAY, None, True, {"city": "Ulm"}) for number in range(11)]
    until = {"tier": "gold", "tier_until": "2024-09-30"}
    by_hand = [("m2", date(2024, 6, 10), None, True, until), ("m3", date(2024, 8, 1), None, True, {"tier": "silver"})]
    known = [(*row[:2], by_hand[int(row[0][1:]) - 2][1] if row[0] in ("m2", "m3") else None, *row[3:]) for row in known]
    return [*known, *by_hand, ("m11", FIRST_DAY + timedelta(days=220), None, False, {})]


def _products() -> list[tuple[str, str | None, date | None, dict[str, str]]]:
    wine = [("p0", "wine", None, {}), ("p1", "wine", date(2024, 1, 1), {}), ("p2", "wine", date(2024, 6, 15), {})]
    return [*wine, ("p3", "bread", None, {}), ("p4", None, None, {}), ("p5", "wine", date(2024, 8, 15), {})]
