"""From source columns to canonical ones: the expressions of the YAML, typed, checked row by row.

In: bronze rows. Out: the canonical columns, plus ``status`` (good, quarantined, filtered, late), ``rule`` (why, null
when good), ``found`` (the shape of the offending value: letters as a, digits as 9, never the value itself),
``row_hash`` and ``file`` (null when good), ``batch``, and for each quality rule a column ``breaks_<rule>``. Every
bronze row comes out exactly once.
"""

import re
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config.base import IDENTIFIER
from memberlevel_spark.config.ingest import IngestConfig, MapConfig, QualityConfig, RuleConfig, SourceConfig
from memberlevel_spark.config.model import Config, MoneyConfig
from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.ingest.canonical import (
    CANONICAL,
    EVENT_TYPES,
    FILTERED,
    FIRST_TS,
    GOOD,
    IGNORE,
    LAST_TS,
    LATE,
    MAX_AMOUNT,
    MAX_COUNT,
    QUARANTINED,
    WHO,
    WITH_ATTRIBUTES,
    CanonicalColumn,
)
from memberlevel_spark.ingest.identifiers import MAX_IDENTIFIER_CHARS, has_unicode, normalised
from memberlevel_spark.ingest.money import in_minor_units
from memberlevel_spark.ingest.reader import BATCH, CORRUPT, FILE, FILE_TS

FOUND_CHARS = 60
# A zone after a timestamp's time: Z, an offset, or a region.
HAS_ZONE = r":\d{2}(\.\d+)?\s*(Z|UTC|GMT|[+-]\d{1,2}(:?\d{2})?|[A-Z][A-Za-z_]+/[A-Za-z_/]+)$"
# Spark would read a bare time as today's.
HAS_DATE = r"^\s*\d{4}-\d{1,2}(-\d{1,2}|$)"


@dataclass(frozen=True)
class SourceMap:
    """One map of one source, with what its rows are checked against. ``rates`` is None for one-currency sources."""

    source: str
    settings: SourceConfig
    mapping: MapConfig
    zone: str
    money: MoneyConfig
    ingest: IngestConfig
    quality: QualityConfig
    rates: DataFrame | None = None
    unicode: bool = False
    rules: tuple[RuleConfig, ...] = field(default=())

    @classmethod
    def of(cls, config: Config, source: str, mapping: MapConfig) -> "SourceMap":
        """The map as the configuration has it."""
        return cls(
            source=source,
            settings=config.sources[source],
            mapping=mapping,
            zone=config.timeline.business_zone,
            money=config.money,
            ingest=config.ingest,
            quality=config.quality,
            rules=tuple(rule for rule in config.quality.rules if rule.table == mapping.to),
        )

    @property
    def table(self) -> str:
        """The canonical table it maps to."""
        return self.mapping.to

    @property
    def may_be_foreign(self) -> bool:
        """Whether an amount may be in another currency than the shop's."""
        own = self.settings.currency or self.money.currency
        return self.table == "events" and ("currency" in self.mapping.columns or own != self.money.currency)


def map_rows(bronze: DataFrame, source_map: SourceMap) -> DataFrame:
    """Apply one map of one source; see the module's docstring for what comes out.

    Text of a wrong type is quarantined as ``wrong_type_<column>``, a null or empty required value as
    ``null_<column>``. Events also get ``day``, ``amount_cents``, ``discount_cents`` and ``flag``. Errors: ConfigError
    for a column or an expression the source cannot give.
    """
    _check_columns(source_map)
    try:
        staged = bronze.select(*_given(source_map), *_origin(bronze, source_map))
        typed = staged.select("*", *_typed_columns(source_map))
        if source_map.table == "events":
            typed = _with_event_values(typed, source_map)
        return _judged(typed, source_map)
    except AnalysisException as problem:
        raise _cannot_map(source_map, problem) from None


def beyond_ascii(bronze: DataFrame, source_map: SourceMap) -> DataFrame:
    """One boolean column ``unicode`` per bronze row: whether an identifier it gives needs Unicode normalisation.

    Errors: ConfigError for an expression the source cannot give.
    """
    kinds, given = CANONICAL[source_map.table], source_map.mapping.columns
    identifiers = [
        expression for name, expression in given.items() if name in kinds and kinds[name].kind == "identifier"
    ]
    try:
        needs = [has_unicode(normalised(F.expr(expression), unicode=False)) for expression in identifiers]
        return bronze.select(reduce(or_, needs, F.lit(False)).alias("unicode"))
    except AnalysisException as problem:
        raise _cannot_map(source_map, problem) from None


def _check_columns(source_map: SourceMap) -> None:
    table, given = source_map.table, set(source_map.mapping.columns)
    columns = CANONICAL[table]
    missing = {name for name, column in columns.items() if column.required} - given
    if table == "events" and not given & set(WHO):
        missing.add(" or ".join(WHO))
    unknown = set() if table in WITH_ATTRIBUTES else given - set(columns)
    unknown |= {name for name in given if not re.match(IDENTIFIER, name)}
    if missing or unknown:
        words = [f"missing {first_five(missing)}"] if missing else []
        words += [f"unknown {first_five(unknown)}"] if unknown else []
        raise ConfigError(
            f"a map of source {source_map.source} to {table} has wrong columns: {'; '.join(words)}."
            f" It may give: {', '.join(columns)}."
        )
    wrong = set(source_map.settings.event_types.values()) - {*EVENT_TYPES, IGNORE}
    if wrong:
        raise ConfigError(
            f"source {source_map.source} translates to unknown event types: {first_five(wrong)}."
            f" Use one of: {', '.join(EVENT_TYPES)}, or {IGNORE}."
        )


def _cannot_map(source_map: SourceMap, problem: AnalysisException) -> ConfigError:
    parameters = problem.getMessageParameters() or {}
    name = parameters.get("objectName", "an expression").replace("`", "")
    offered = parameters.get("proposal", "").replace("`", "")
    hint = f" The source has: {offered}." if offered else ""
    return ConfigError(
        f"source {source_map.source} cannot be mapped to {source_map.table}: {name} ({problem.getCondition()}).{hint}"
        f" Mend sources.{source_map.source}.maps or quality.rules."
    )


def _given(source_map: SourceMap) -> list[Column]:
    mapping = source_map.mapping
    columns = [F.expr(expression).alias(f"given_{name}") for name, expression in mapping.columns.items()]
    return [*columns, (F.expr(mapping.where) if mapping.where else F.lit(True)).alias("wanted")]


def _origin(bronze: DataFrame, source_map: SourceMap) -> list[Column]:
    """Where a row came from."""
    own = [F.col(f"`{name}`") for name in bronze.columns if not name.startswith("_")]
    corrupt = F.col(CORRUPT) if CORRUPT in bronze.columns else F.lit(None).cast("string")
    return [
        corrupt.alias("corrupt"),
        F.struct(*own).alias("as_it_came"),
        F.col(FILE).alias("file"),
        (F.col(FILE_TS) if FILE_TS in bronze.columns else F.lit(None).cast("timestamp")).alias("file_ts"),
        (F.col(BATCH) if BATCH in bronze.columns else F.lit(0).cast("bigint")).alias("batch"),
        F.lit(source_map.source).alias("source"),
    ]


def _typed_columns(source_map: SourceMap) -> list[Column]:
    return [_typed(source_map, name, column).alias(name) for name, column in CANONICAL[source_map.table].items()]


def _typed(source_map: SourceMap, name: str, column: CanonicalColumn) -> Column:
    kind = "string" if column.kind == "identifier" else column.kind
    default = F.lit(column.default).cast(kind)
    if name not in source_map.mapping.columns:
        return default
    given = F.col(f"given_{name}")
    if column.kind == "identifier":
        return normalised(given, unicode=source_map.unicode)
    if name == "event_type":
        return _translated(given, source_map.settings.event_types)
    if column.kind == "timestamp":
        return _instant(given, source_map.settings.time_zone)
    if column.kind == "string":
        return F.nullif(F.left(given.cast("string"), F.lit(source_map.ingest.max_text_chars)), F.lit(""))
    if kind == "double":
        number = given.try_cast(kind)
        return F.when(F.abs(number) < float("inf"), number)  # not a number is above infinity in Spark
    if column.default is None:
        return given.try_cast(kind)
    # A value of a wrong type must not turn into the default.
    absent = given.isNull() | (given.cast("string") == "")
    return F.when(absent, default).otherwise(given.try_cast(kind))


def _translated(given: Column, words: dict[str, str]) -> Column:
    word = F.trim(given.cast("string"))
    if not words:
        return F.nullif(word, F.lit(""))
    pairs = [F.lit(text) for pair in words.items() for text in pair]
    return F.coalesce(F.element_at(F.create_map(*pairs), word), F.nullif(F.concat(F.lit("?"), word), F.lit("?")))


def _instant(given: Column, zone: str) -> Column:
    """A timestamp in UTC: text without a zone, and a timestamp without one, is local time of the source's zone.

    In the hour that daylight saving repeats the first occurrence counts; an hour it skips moves forward.
    """
    text = given.cast("string")
    parsed = F.when(text.rlike(HAS_DATE), given.try_cast("timestamp"))
    if zone == "UTC":
        return parsed
    return F.when(F.trim(text).rlike(HAS_ZONE), parsed).otherwise(F.to_utc_timestamp(parsed, zone))


def _with_event_values(typed: DataFrame, source_map: SourceMap) -> DataFrame:
    own = source_map.settings.currency or source_map.money.currency
    currency = F.upper(F.trim(F.coalesce("currency", F.lit(own))))
    day = F.to_date(F.from_utc_timestamp("event_ts", source_map.zone))
    rows = typed.withColumns({"currency": currency, "day": day})
    return in_minor_units(rows, source_map.settings, source_map.money, source_map.rates)


def _judged(typed: DataFrame, source_map: SourceMap) -> DataFrame:
    columns = CANONICAL[source_map.table]
    broken = F.coalesce(*_built_in_rules(source_map))
    breaks = {rule.name: ~F.coalesce(F.expr(rule.expression), F.lit(False)) for rule in source_map.rules}
    ruled = typed.withColumns(
        {"built_in": broken, **{f"breaks_{name}": broken.isNull() & value for name, value in breaks.items()}}
    )
    quarantining = [
        F.when(F.col(f"breaks_{rule.name}"), rule.name) for rule in source_map.rules if rule.severity == "quarantine"
    ]
    flagging = [F.when(F.col(f"breaks_{rule.name}"), rule.name) for rule in source_map.rules if rule.severity == "flag"]
    rule = F.coalesce("built_in", *quarantining)
    # A line that did not parse has no values a filter could judge.
    unwanted = F.col("corrupt").isNull() & ~F.coalesce("wanted", F.lit(False))
    if source_map.table == "events":
        unwanted |= F.col("corrupt").isNull() & F.coalesce(F.col("event_type") == IGNORE, F.lit(False))
    status = F.when(unwanted, FILTERED).when(rule.isNotNull(), QUARANTINED).when(_is_late(source_map), LATE)
    extra = []
    if source_map.table in WITH_ATTRIBUTES:
        extra = [_attributes(source_map.mapping, columns)]
    if source_map.table == "members":
        extra.append(_received_day(source_map).alias("received_day"))
    if source_map.table == "events":
        flag = F.coalesce(*flagging, F.lit(None).cast("string")).alias("flag")
        extra = [F.col("day"), F.col("amount_cents"), F.col("discount_cents"), flag]
    return ruled.select(
        *columns,
        *extra,
        *[f"breaks_{name}" for name in breaks],
        "source",
        status.otherwise(GOOD).alias("status"),
        F.when(~unwanted, rule).alias("rule"),
        _found(rule, source_map).alias("found"),
        # Only a rejected row is looked for in bronze; hashing every row would cost more than typing it.
        F.when(rule.isNotNull(), _row_hash()).alias("row_hash"),
        F.when(rule.isNotNull(), F.col("file")).alias("file"),
        "batch",
    )


def _row_hash() -> Column:
    """What a row is found again by in bronze."""
    return F.xxhash64(F.coalesce("corrupt", F.to_json("as_it_came")))


def _is_late(source_map: SourceMap) -> Column:
    days = source_map.ingest.late_days
    if source_map.table != "events" or days is None or "received_ts" not in source_map.mapping.columns:
        return F.lit(False)
    return F.coalesce(F.date_diff(_received_day(source_map), "day") > days, F.lit(False))


def _received_day(source_map: SourceMap) -> Column:
    """The business day on which a row reached the shop; null where its source does not say."""
    return F.to_date(F.from_utc_timestamp("received_ts", source_map.zone))


def _built_in_rules(source_map: SourceMap) -> list[Column]:
    """The first rule a row breaks, in this order: corrupt, wrong types, nulls, then what the table itself demands."""
    rules = [F.when(F.col("corrupt").isNotNull(), "corrupt_row")]
    for name, column in CANONICAL[source_map.table].items():
        if name in source_map.mapping.columns:
            text = F.col(f"given_{name}").cast("string")
            given = text.isNotNull() & (F.trim(text) != "")
            if column.kind == "identifier":
                rules.append(F.when(F.length(name) > MAX_IDENTIFIER_CHARS, f"too_long_{name}"))
            elif column.kind != "string":
                rules.append(F.when(given & F.col(name).isNull(), f"wrong_type_{name}"))
        if column.never_null:
            rules.append(F.when(F.col(name).isNull(), f"null_{name}"))
    table_rules = _event_rules(source_map) if source_map.table == "events" else {}
    if source_map.table == "rates":
        table_rules = {"rate_not_positive": F.col("rate") <= 0}
    return rules + [F.when(broken, rule) for rule, broken in table_rules.items()]


def _event_rules(source_map: SourceMap) -> dict[str, Column]:
    given = source_map.mapping.columns
    rules = {"unknown_event_type": ~F.col("event_type").isin(*EVENT_TYPES, IGNORE)}
    # An absent map gives a content hash; an id that is given must be there.
    if "event_id" in given:
        rules["null_event_id"] = F.col("event_id").isNull()
    rules["null_member_id"] = F.coalesce(*(F.col(name) for name in WHO)).isNull()
    rules["timestamp_out_of_range"] = ~F.col("event_ts").between(F.lit(FIRST_TS), F.lit(LAST_TS))
    if source_map.quality.max_future_days is not None:
        seconds = int(source_map.quality.max_future_days * 86400)
        latest = F.coalesce("received_ts", "file_ts") + F.make_dt_interval(secs=F.lit(seconds))
        rules["timestamp_in_future"] = F.coalesce(F.col("event_ts") > latest, F.lit(False))
    rules |= {f"negative_{name}": F.col(name) < 0 for name in ("amount", "discount", "quantity") if name in given}
    rules |= {f"out_of_range_{name}": F.col(name) > MAX_AMOUNT for name in ("amount", "discount") if name in given}
    rules |= {f"out_of_range_{name}": F.abs(name) > MAX_COUNT for name in ("quantity", "points") if name in given}
    if source_map.may_be_foreign:
        needs_rate = (F.col("amount") != 0) | (F.col("discount") != 0)
        rules["unknown_currency"] = needs_rate & (F.col("currency_rule") == "unknown_currency")
        rules["missing_rate"] = needs_rate & (F.col("currency_rule") == "missing_rate")
    return rules


def _found(rule: Column, source_map: SourceMap) -> Column:
    """The shape of the value that broke a rule, null where the rule is about no single plain column."""
    shapes = []
    for name in CANONICAL[source_map.table]:
        if name in source_map.mapping.columns and CANONICAL[source_map.table][name].kind != "identifier":
            about = rule.endswith(f"_{name}")
            if name == "event_ts":
                about |= rule.startswith("timestamp_")
            if name == "currency":
                about |= rule == "missing_rate"
            value = F.left(F.col(f"given_{name}").cast("string"), F.lit(FOUND_CHARS))
            shapes.append(F.when(about, F.regexp_replace(F.regexp_replace(value, r"\p{L}", "a"), r"\d", "9")))
    return F.coalesce(*shapes, F.lit(None).cast("string"))


def _attributes(mapping: MapConfig, columns: dict[str, CanonicalColumn]) -> Column:
    names = [name for name in mapping.columns if name not in columns]
    entries = [
        F.struct(F.lit(name).alias("key"), F.col(f"given_{name}").cast("string").alias("value")) for name in names
    ]
    if not entries:
        return F.lit(None).cast("map<string,string>").alias("attributes")
    kept = F.filter(F.array(*entries), lambda entry: entry["value"].isNotNull())
    return F.map_from_entries(kept).alias("attributes")
