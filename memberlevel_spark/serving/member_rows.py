"""The rows of one member that a forecast is made from, as the tables have them.

In: nothing. Out: which columns of which tables are needed, and their Arrow types.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import pyarrow as pa
from pyspark.sql import types as T

from memberlevel_spark.schemas import (
    BREAKDOWN_MEASURES,
    MEASURES,
    MEMBER_DAY_BREAKDOWNS,
    MEMBER_DAYS,
    MEMBER_LEVELS,
    MEMBERS,
    TableContract,
)

_PLAIN: Mapping[T.DataType, pa.DataType] = {
    T.StringType(): pa.string(),
    T.LongType(): pa.int64(),
    T.IntegerType(): pa.int32(),
    T.DateType(): pa.date32(),
    T.BooleanType(): pa.bool_(),
}


@dataclass(frozen=True)
class MemberRows:
    """Rows in any order; each field is named in ``READ``.

    - profiles: rows of ``members``, one at least: a member without one is not known to the shop.
    - tiles, breakdowns: of all days; days after an as-of date are never looked at for it.
    - levels: the stretches of ``member_levels`` by the shop's rules.
    """

    profiles: pa.Table
    tiles: pa.Table
    levels: pa.Table
    breakdowns: pa.Table


def _read(contract: TableContract, *names: str) -> tuple[TableContract, pa.Schema]:
    return contract, pa.schema([(name, _arrow_type(contract.schema[name].dataType)) for name in names])


def _arrow_type(kind: T.DataType) -> pa.DataType:
    if isinstance(kind, T.MapType):
        return pa.map_(_arrow_type(kind.keyType), _arrow_type(kind.valueType))
    return _PLAIN[kind]


# Field of MemberRows -> its table, and the columns that are read.
READ: Mapping[str, tuple[TableContract, pa.Schema]] = {
    "profiles": _read(MEMBERS, "valid_from", "valid_to", "declared", "attributes", "known_from", "corrected_from"),
    "tiles": _read(MEMBER_DAYS, "day", *MEASURES),
    "levels": _read(MEMBER_LEVELS, "valid_from", "level", "own_level"),
    "breakdowns": _read(MEMBER_DAY_BREAKDOWNS, "day", "dimension", "value", *BREAKDOWN_MEASURES),
}
assert tuple(READ) == tuple(field.name for field in fields(MemberRows)), "one schema for each"


def rows_from(given: Mapping[str, list[dict[str, object]]]) -> MemberRows:
    """Rows given as dictionaries, by field; a field that is not given has none."""
    return MemberRows(**{name: pa.Table.from_pylist(given.get(name, []), schema) for name, (_, schema) in READ.items()})
