"""The canonical tables a source's rows become: their columns, types and defaults; event types and row statuses."""

from dataclasses import dataclass

# Order lines and what changes their money, then what members do besides.
EVENT_TYPES = (
    "order",
    "refund",
    "cancellation",
    "view",
    "search",
    "cart_add",
    "cart_remove",
    "checkout",
    "session_start",
    "activity",
    "points",
    "coupon",
    "review",
)
IGNORE = "ignore"
GOOD, QUARANTINED, FILTERED, LATE = "good", "quarantined", "filtered", "late"
# Outside it the pandas path overflows, and no shop has events there.
FIRST_TS, LAST_TS = "1990-01-01", "2100-01-01"
# Above it neither sums over years nor products with a rate stay within 64 bits.
MAX_AMOUNT, MAX_COUNT = 10**12, 10**9
AMOUNT = "decimal(20,6)"


@dataclass(frozen=True)
class CanonicalColumn:
    """One column a map may give. ``kind`` is its Spark type, or ``identifier``: text, trimmed and normalised.

    A ``required`` column must be given by the map, a ``never_null`` one must have a value in every row; an absent or
    null value takes the ``default``.
    """

    kind: str
    required: bool = False
    never_null: bool = False
    default: object = None


CANONICAL: dict[str, dict[str, CanonicalColumn]] = {
    "events": {
        "event_id": CanonicalColumn("identifier"),
        "member_id": CanonicalColumn("identifier"),
        "device_id": CanonicalColumn("identifier"),
        "event_type": CanonicalColumn("string", required=True, never_null=True),
        "event_ts": CanonicalColumn("timestamp", required=True, never_null=True),
        "received_ts": CanonicalColumn("timestamp"),
        "order_id": CanonicalColumn("identifier"),
        "product_id": CanonicalColumn("string"),
        "quantity": CanonicalColumn("bigint", default=1),
        "amount": CanonicalColumn(AMOUNT, default=0),
        "discount": CanonicalColumn(AMOUNT, default=0),
        "currency": CanonicalColumn("string"),
        "points": CanonicalColumn("bigint", default=0),
        "rating": CanonicalColumn("double"),
        "text": CanonicalColumn("string"),
        "session_id": CanonicalColumn("identifier"),
        "channel": CanonicalColumn("string"),
        "user_agent": CanonicalColumn("string"),
        "detail": CanonicalColumn("string"),
    },
    "members": {
        "member_id": CanonicalColumn("identifier", required=True, never_null=True),
        "valid_from": CanonicalColumn("date", required=True, never_null=True),
        "received_ts": CanonicalColumn("timestamp"),
    },
    "products": {
        "product_id": CanonicalColumn("string", required=True, never_null=True),
        "category": CanonicalColumn("string"),
        "valid_from": CanonicalColumn("date"),
    },
    "devices": {
        "device_id": CanonicalColumn("identifier", required=True, never_null=True),
        "member_id": CanonicalColumn("identifier", required=True),
        "valid_from": CanonicalColumn("timestamp", required=True, never_null=True),
    },
    "rates": {
        "currency": CanonicalColumn("string", required=True, never_null=True),
        "day": CanonicalColumn("date", required=True, never_null=True),
        "rate": CanonicalColumn("decimal(18,9)", required=True, never_null=True),
    },
}
# Tables whose maps may name further columns, kept as attributes.
WITH_ATTRIBUTES = ("members", "products")
# An event must name at least one of them.
WHO = ("member_id", "device_id")
