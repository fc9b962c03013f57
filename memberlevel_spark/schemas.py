"""The contract of every table: grain, key, columns. The writer refuses a frame that differs from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyspark.sql import types as T

STRING, LONG, INT, DATE, DOUBLE = T.StringType(), T.LongType(), T.IntegerType(), T.DateType(), T.DoubleType()
TIMESTAMP = T.TimestampType()


def required(name: str, kind: T.DataType) -> T.StructField:
    """A column that is never null."""
    return T.StructField(name, kind, nullable=False)


def optional(name: str, kind: T.DataType) -> T.StructField:
    """A column that may be null; the builder's docstring says when."""
    return T.StructField(name, kind, nullable=True)


@dataclass(frozen=True)
class TableContract:
    """One Delta table: rows are unique by ``key``; ``prune_by`` are the only columns with file statistics.

    ``later`` are its last columns, as far as tables made before may lack them: they are then added, null in older rows.
    """

    name: str
    key: tuple[str, ...]
    schema: T.StructType
    prune_by: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


ATTRIBUTES = T.MapType(STRING, STRING, valueContainsNull=False)

EVENTS = TableContract(
    name="events",
    key=("event_id",),
    schema=T.StructType(
        [
            required("event_id", STRING),
            optional("member_id", STRING),
            optional("device_id", STRING),
            required("event_type", STRING),
            required("event_ts", TIMESTAMP),
            required("day", DATE),
            required("month", DATE),
            optional("received_ts", TIMESTAMP),
            optional("order_id", STRING),
            optional("product_id", STRING),
            required("quantity", LONG),
            required("amount_cents", LONG),
            required("discount_cents", LONG),
            required("net_cents", LONG),
            required("points", LONG),
            optional("rating", DOUBLE),
            optional("text", STRING),
            optional("session_id", STRING),
            optional("channel", STRING),
            optional("detail", STRING),
            required("stitched", T.BooleanType()),
            optional("flag", STRING),
            required("source", STRING),
        ]
    ),
    prune_by=("day",),
    partition_by=("month",),
)

# Events that arrived too late to change their day: kept, and never read by a later stage.
LATE_EVENTS = TableContract(
    name="late_events",
    key=("event_id",),
    schema=T.StructType(
        [
            required("event_id", STRING),
            optional("member_id", STRING),
            required("event_type", STRING),
            required("event_ts", TIMESTAMP),
            required("day", DATE),
            required("received_ts", TIMESTAMP),
            required("amount_cents", LONG),
            required("source", STRING),
            required("batch", LONG),
        ]
    ),
    prune_by=("source", "batch"),
)

MEMBERS = TableContract(
    name="members",
    key=("member_id", "valid_from"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("valid_from", DATE),
            optional("valid_to", DATE),
            required("declared", T.BooleanType()),
            required("attributes", ATTRIBUTES),
            # The first day on which the shop had the row, and the later ones from which it had an attribute's value.
            required("known_from", DATE),
            required("corrected_from", T.MapType(STRING, DATE, valueContainsNull=False)),
        ]
    ),
    prune_by=("valid_from",),
)

PRODUCTS = TableContract(
    name="products",
    key=("product_id",),
    schema=T.StructType(
        [
            required("product_id", STRING),
            optional("category", STRING),
            optional("valid_from", DATE),
            required("attributes", ATTRIBUTES),
        ]
    ),
)

QUARANTINE = TableContract(
    name="quarantine",
    key=(),
    schema=T.StructType(
        [
            required("source", STRING),
            required("target", STRING),
            required("rule", STRING),
            optional("found", STRING),
            required("row_hash", LONG),
            optional("file", STRING),
            required("batch", LONG),
        ]
    ),
    prune_by=("source", "batch"),
)

# Written last in silver: what each run did with the rows of each source, and what the quality rules found.
QUALITY_RESULTS = TableContract(
    name="quality_results",
    key=("source", "target", "rule", "through_batch"),
    schema=T.StructType(
        [
            required("source", STRING),
            required("target", STRING),
            required("rule", STRING),
            required("severity", STRING),
            required("through_batch", LONG),
            required("num_rows", LONG),
            required("num_broken", LONG),
            required("share", DOUBLE),
            optional("max_share", DOUBLE),
            required("passed", T.BooleanType()),
        ]
    ),
    prune_by=("source", "through_batch"),
)

# The measures of a daily tile: each is a sum over the events of the day, so any two tiles can be added.
MEASURES = (
    "num_orders",
    "num_items",
    "spend_cents",
    "discount_cents",
    "num_activities",
    "num_views",
    "num_searches",
    "num_cart_adds",
    "num_sessions",
    "num_refunds",
    "points",
    "num_coupons",
    "num_discounted_orders",
    "num_cart_sessions",
)

# The measures of a member's day broken down by a dimension; each is a sum over the events that have a value of it.
BREAKDOWN_MEASURES = ("num_items", "spend_cents", "discount_cents", "num_views", "num_cart_adds", "num_events")

MEMBER_DAYS = TableContract(
    name="member_days",
    key=("member_id", "day"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("day", DATE),
            *(required(measure, LONG) for measure in MEASURES),
            required("num_events", LONG),
        ]
    ),
    prune_by=("day",),
)

MEMBER_DAY_BREAKDOWNS = TableContract(
    name="member_day_breakdowns",
    key=("member_id", "day", "dimension", "value"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("day", DATE),
            required("dimension", STRING),
            required("value", STRING),
            *(required(measure, LONG) for measure in BREAKDOWN_MEASURES),
        ]
    ),
    prune_by=("day",),
)

MEMBER_LEVELS = TableContract(
    name="member_levels",
    key=("rules_version", "member_id", "valid_from"),
    schema=T.StructType(
        [
            required("rules_version", STRING),
            required("member_id", STRING),
            required("valid_from", DATE),
            optional("valid_to", DATE),
            required("level", INT),
            required("own_level", INT),
            required("reason", STRING),
            required("metric_values", T.MapType(STRING, LONG, valueContainsNull=False)),
        ]
    ),
    prune_by=("valid_from", "valid_to"),
    partition_by=("rules_version",),
)

MEMBER_LABELS = TableContract(
    name="member_labels",
    key=("member_id", "as_of_date"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("as_of_date", DATE),
            required("known_from_date", DATE),
            required("level_now", INT),
            required("target_level", INT),
            required("moved_up", T.BooleanType()),
            required("moved_down", T.BooleanType()),
            required("churned", T.BooleanType()),
            required("bought", T.BooleanType()),
            required("num_orders", LONG),
            required("spend_cents", LONG),
            optional("first_category", STRING),
            optional("became_inactive", T.BooleanType()),
            required("inactive_known_from_date", DATE),
        ]
    ),
    prune_by=("as_of_date",),
)

# What is known of each event of a sequence, and its type; 0 is padding. One array of each, all of one length.
EVENT_ARRAYS = {
    "event_type": INT,
    "age_seconds": LONG,
    "gap_seconds": LONG,
    "amount_log": T.FloatType(),
    "hour": INT,
    "weekday": INT,
    "category": INT,
    "channel": INT,
    "product_bucket": INT,
}

MEMBER_EVENT_SEQUENCES = TableContract(
    name="member_event_sequences",
    key=("member_id", "as_of_date"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("as_of_date", DATE),
            required("num_events", INT),
            *(required(name, T.ArrayType(kind, containsNull=False)) for name, kind in EVENT_ARRAYS.items()),
        ]
    ),
    prune_by=("as_of_date",),
)

EXAMPLES = TableContract(
    name="examples",
    key=("member_id", "as_of_date"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("as_of_date", DATE),
            required("row_key", LONG),
            required("as_of_day", INT),
            required("level_now", INT),
            required("target_level", INT),
            required("outcomes", T.ArrayType(T.FloatType(), containsNull=False)),
            required("features", T.ArrayType(T.FloatType(), containsNull=False)),
            required("split", STRING),
        ]
    ),
    prune_by=("as_of_date",),
    partition_by=("split",),
)


def with_next_category(examples: TableContract) -> TableContract:
    """The same table for a model that tells the next category: its number, in a list of one as the feed reads lists."""
    column = required("next_category", T.ArrayType(INT, containsNull=False))
    return replace(examples, schema=T.StructType([*examples.schema, column]))


def with_group(examples: TableContract, column: str) -> TableContract:
    """The same table with the number of a protected group in ``column``, in a list of one as the feed reads lists."""
    return replace(
        examples,
        schema=T.StructType([*examples.schema, required(column, T.ArrayType(INT, containsNull=False))]),
    )


def bronze_contract(source: str, columns: Sequence[T.StructField]) -> TableContract:
    """Bronze keeps a source's own columns; file, its time, the unparsed line, batch and ingest time come after them."""
    kept = [optional(column.name, column.dataType) for column in columns]
    origin = [
        optional("_file", STRING),
        optional("_file_ts", TIMESTAMP),
        optional("_corrupt_record", STRING),
        required("_batch", LONG),
        required("_ingested_at", TIMESTAMP),
    ]
    return TableContract(f"bronze_{source}", (), T.StructType([*kept, *origin]), prune_by=("_batch",))


def member_features_contract(columns: Sequence[T.StructField]) -> TableContract:
    """One row per member and as-of date; the feature columns come from the declarations."""
    schema = T.StructType([required("member_id", STRING), required("as_of_date", DATE), *columns])
    return TableContract("member_features", ("member_id", "as_of_date"), schema, prune_by=("as_of_date",))


def member_sequences_contract(measures: Sequence[str]) -> TableContract:
    """One row per member and as-of date; an array of weekly sums per measure, newest week first."""
    weekly = T.ArrayType(LONG, containsNull=False)
    columns = [required(f"weekly_{measure}", weekly) for measure in measures]
    schema = T.StructType([required("member_id", STRING), required("as_of_date", DATE), *columns])
    return TableContract("member_sequences", ("member_id", "as_of_date"), schema, prune_by=("as_of_date",))
