"""From source columns to canonical ones: the expressions of the YAML, typed, checked row by row.

In: bronze rows. Out: the canonical columns, plus ``status`` (good, quarantined, filtered), ``rule`` (why, null when
good) and ``raw`` (the source row as JSON, null when good). Every bronze row comes out exactly once.
"""

import re
from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config.model import IDENTIFIER, MapConfig
from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.ingest.bronze import CORRUPT

EVENT_TYPES = ("order", "activity")
GOOD, QUARANTINED, FILTERED = "good", "quarantined", "filtered"
# Outside it the pandas path overflows, and no shop has events there.
FIRST_TS, LAST_TS = "1990-01-01", "2100-01-01"


@dataclass(frozen=True)
class CanonicalColumn:
    """One column a map may give: its Spark type, whether it must be given, and the default of an absent one."""

    kind: str
    required: bool = False
    default: object = None


CANONICAL: dict[str, dict[str, CanonicalColumn]] = {
    "events": {
        "event_id": CanonicalColumn("string", required=True),
        "member_id": CanonicalColumn("string", required=True),
        "event_type": CanonicalColumn("string", required=True),
        "event_ts": CanonicalColumn("timestamp", required=True),
        "order_id": CanonicalColumn("string"),
        "product_id": CanonicalColumn("string"),
        "quantity": CanonicalColumn("bigint", default=1),
        "amount": CanonicalColumn("decimal(28,6)", default=0),
        "discount": CanonicalColumn("decimal(28,6)", default=0),
        "channel": CanonicalColumn("string"),
    },
    "members": {
        "member_id": CanonicalColumn("string", required=True),
        "valid_from": CanonicalColumn("date", required=True),
    },
    "products": {
        "product_id": CanonicalColumn("string", required=True),
        "category": CanonicalColumn("string"),
    },
}
NEVER_NULL = {
    "events": ("member_id", "event_id", "event_type", "event_ts"),
    "members": ("member_id", "valid_from"),
    "products": ("product_id",),
}
# Tables whose maps may name further columns, kept as attributes.
WITH_ATTRIBUTES = ("members", "products")


def map_rows(bronze: DataFrame, source: str, mapping: MapConfig, *, time_zone: str = "UTC") -> DataFrame:
    """Apply one map of one source; see the module's docstring for what comes out.

    Text columns of a wrong type are quarantined as ``wrong_type_<column>``; a null or empty required value as
    ``null_<column>``. Errors: ConfigError for a column or expression the source cannot give.
    """
    _check_columns(source, mapping)
    columns = CANONICAL[mapping.to]
    raw = F.to_json(F.struct(*[F.col(f"`{name}`") for name in bronze.columns if not name.startswith("_")]))
    given = {name: F.expr(expression) for name, expression in mapping.columns.items()}
    try:
        staged = bronze.select(
            *[value.alias(f"given_{name}") for name, value in given.items()],
            (F.expr(mapping.where) if mapping.where else F.lit(True)).alias("wanted"),
            _corrupt(bronze).alias("corrupt"),
            F.coalesce(_corrupt(bronze), raw).alias("raw"),
            F.col("_file").alias("file"),
        )
    except AnalysisException as problem:
        raise _cannot_map(source, mapping, problem) from None
    typed = staged.select("*", *[_typed(name, column, given, time_zone) for name, column in columns.items()])
    ruled = typed.withColumn("broken", _first_broken_rule(mapping.to, given))
    # A line that did not parse has no values a filter could judge.
    unwanted = F.col("corrupt").isNull() & ~F.coalesce("wanted", F.lit(False))
    status = F.when(unwanted, FILTERED).when(F.col("broken").isNotNull(), QUARANTINED)
    return ruled.select(
        *columns,
        *([_attributes(mapping, columns)] if mapping.to in WITH_ATTRIBUTES else []),
        F.lit(source).alias("source"),
        status.otherwise(GOOD).alias("status"),
        F.col("broken").alias("rule"),
        F.when(F.col("broken").isNotNull(), F.col("raw")).alias("raw"),
        "file",
    )


def _check_columns(source: str, mapping: MapConfig) -> None:
    columns = CANONICAL[mapping.to]
    missing = {name for name, column in columns.items() if column.required} - set(mapping.columns)
    unknown = set() if mapping.to in WITH_ATTRIBUTES else set(mapping.columns) - set(columns)
    unknown |= {name for name in mapping.columns if not re.match(IDENTIFIER, name)}
    if missing or unknown:
        words = [f"missing {first_five(missing)}"] if missing else []
        words += [f"unknown {first_five(unknown)}"] if unknown else []
        raise ConfigError(
            f"a map of source {source} to {mapping.to} has wrong columns: {'; '.join(words)}."
            f" It may give: {', '.join(columns)}."
        )


def _cannot_map(source: str, mapping: MapConfig, problem: AnalysisException) -> ConfigError:
    parameters = problem.getMessageParameters() or {}
    name = parameters.get("objectName", "an expression").replace("`", "")
    offered = parameters.get("proposal", "").replace("`", "")
    hint = f" The source has: {offered}." if offered else ""
    return ConfigError(
        f"source {source} cannot be mapped to {mapping.to}: {name} ({problem.getCondition()}).{hint}"
        f" Mend sources.{source}.maps."
    )


def _corrupt(bronze: DataFrame) -> Column:
    return F.col(CORRUPT) if CORRUPT in bronze.columns else F.lit(None).cast("string")


def _typed(name: str, column: CanonicalColumn, given: dict[str, Column], time_zone: str) -> Column:
    if name not in given:
        return F.lit(column.default).cast(column.kind).alias(name)
    value = F.col(f"given_{name}").try_cast(column.kind)
    if column.kind == "timestamp" and time_zone != "UTC":
        value = F.to_utc_timestamp(value, time_zone)
    if column.kind == "string":
        value = F.nullif(value, F.lit(""))
    if column.default is not None:
        value = F.when(F.col(f"given_{name}").isNull(), F.lit(column.default).cast(column.kind)).otherwise(value)
    return value.alias(name)


def _first_broken_rule(table: str, given: dict[str, Column]) -> Column:
    rules = [F.when(F.col("corrupt").isNotNull(), "corrupt_row")]
    for name in CANONICAL[table]:
        if name in given:
            wrong = (
                F.col(f"given_{name}").isNotNull()
                & F.col(name).isNull()
                & (F.col(f"given_{name}").cast("string") != "")
            )
            rules.append(F.when(wrong, f"wrong_type_{name}"))
    rules += [F.when(F.col(name).isNull(), f"null_{name}") for name in NEVER_NULL[table]]
    if table == "events":
        rules += [F.when(broken, rule) for rule, broken in _event_rules().items()]
    return F.coalesce(*rules)


def _event_rules() -> dict[str, Column]:
    return {
        "unknown_event_type": ~F.col("event_type").isin(*EVENT_TYPES),
        "timestamp_out_of_range": ~F.col("event_ts").between(F.lit(FIRST_TS), F.lit(LAST_TS)),
        "negative_amount": F.col("amount") < 0,
        "negative_discount": F.col("discount") < 0,
        "negative_quantity": F.col("quantity") < 0,
    }


def _attributes(mapping: MapConfig, columns: dict[str, CanonicalColumn]) -> Column:
    names = [name for name in mapping.columns if name not in columns]
    entries = [
        F.struct(F.lit(name).alias("key"), F.col(f"given_{name}").cast("string").alias("value")) for name in names
    ]
    if not entries:
        return F.lit(None).cast("map<string,string>").alias("attributes")
    kept = F.filter(F.array(*entries), lambda entry: entry["value"].isNotNull())
    return F.map_from_entries(kept).alias("attributes")
