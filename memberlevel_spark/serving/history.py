"""One member as the window kernel reads members: a batch of one row with its history as arrays.

In: the member's rows (``member_rows.py``). Out: what Spark's expressions in ``levels/batches.py``,
``features/profiles.py`` and ``features/breakdown_tiles.py`` gather of the same rows; a test compares the two.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from memberlevel_spark.features.breakdown_tiles import DAY, DIMENSION, ITEM, PREFIX, part_name
from memberlevel_spark.features.breakdowns import Breakdown, dimensions_of
from memberlevel_spark.features.profiles import FROM, KNOWN, NEVER_ENDS, NO_NUMBER, UNTIL, ProfileFeature
from memberlevel_spark.features.windows import WindowPlan
from memberlevel_spark.levels.batches import MANUAL
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.serving.member_rows import MemberRows
from memberlevel_spark.timeline import day_number

Row = Mapping[str, Any]
_INT = pa.int32()
# What Spark reads as a date, and as a number, from text; everything else is null.
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T].*)?)?)?", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[dDfF]?")
_BLANK = "".join(map(chr, range(33)))


def history_batch(rows: MemberRows, plan: WindowPlan) -> pa.RecordBatch:
    """The batch that ``compute_batch`` takes, of one member."""
    profiles = rows.profiles.to_pylist(maps_as_pydicts="strict")
    columns = {
        "member_id": pa.array([""]),
        "known_day": pa.array([min(day_number(row["known_from"]) for row in profiles)], _INT),
        "day": _list(_days(rows.tiles["day"])),
        **{measure: _list(rows.tiles[measure]) for measure in plan.measures},
        **(_manual(profiles, plan.rules) if plan.rules.config.manual else {}),
        "level_from": _list(_days(rows.levels["valid_from"])),
        "level": _list(rows.levels["level"]),
        "own_level": _list(rows.levels["own_level"]),
        **(_profiles(profiles, plan.profile) if plan.profile else {}),
        **(_breakdowns(rows.breakdowns, plan.breakdowns) if plan.breakdowns else {}),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _manual(profiles: Sequence[Row], rules: LevelRules) -> dict[str, pa.Array]:
    """Levels that profiles give by hand, each from the day on which the shop learned of it."""
    manual = rules.config.manual
    assert manual is not None, "the programme has no manual levels"
    numbers = {name: number for number, name in enumerate(rules.names)}
    given = [row for row in profiles if row["attributes"].get(manual.level) in numbers]
    since = [
        max(row["valid_from"], *(_known_from(row, name) for name in (manual.level, manual.until))) for row in given
    ]
    until = [as_date(row["attributes"].get(manual.until)) for row in given]
    level = [numbers[row["attributes"][manual.level]] for row in given]
    values = (list(map(day_number, since)), [day and day_number(day) for day in until], level)
    return {name: _list(pa.array(of_name, _INT)) for name, of_name in zip(MANUAL, values, strict=True)}


def _profiles(profiles: Sequence[Row], features: Sequence[ProfileFeature]) -> dict[str, pa.Array]:
    # A row that stands for a member's first event says nothing of them, and is no reason to forget an earlier one.
    declared = [row for row in profiles if row["declared"]]
    until = [NEVER_ENDS if row["valid_to"] is None else day_number(row["valid_to"]) for row in declared]
    columns = {FROM: pa.array([day_number(row["valid_from"]) for row in declared], _INT), UNTIL: pa.array(until, _INT)}
    for feature in features:
        texts = [row["attributes"].get(feature.attribute) for row in declared]
        is_category = feature.kind == "category"
        columns[feature.name] = (
            pa.array(texts, pa.string()) if is_category else pa.array(map(as_number, texts), pa.float64())
        )
    for feature in features:
        known = [day_number(_known_from(row, feature.attribute)) for row in declared]
        columns[f"{KNOWN}{feature.name}"] = pa.array(known, _INT)
    return {name: _list(values) for name, values in columns.items()}


def _known_from(row: Row, attribute: str) -> date:
    known: date = row["corrected_from"].get(attribute, row["known_from"])
    return known


def _breakdowns(rows: pa.Table, breakdowns: Sequence[Breakdown]) -> dict[str, pa.Array]:
    dimensions = dimensions_of(breakdowns)
    own = rows.filter(pc.is_in(rows["dimension"], pa.array(dimensions, pa.string())))
    columns = {
        DAY: _days(own["day"]),
        DIMENSION: pc.index_in(own["dimension"], pa.array(dimensions, pa.string())),
        # Any number of its own for each value: items are only told apart.
        ITEM: own["value"].combine_chunks().dictionary_encode().indices.cast(pa.int64()),
    }
    for breakdown in breakdowns:
        if breakdown.measure:
            columns[part_name(breakdown)] = _parts(own["value"], breakdown)
            columns[f"{PREFIX}{breakdown.measure}"] = own[breakdown.measure]
    return {name: _list(values) for name, values in columns.items()}


def _parts(values: pa.ChunkedArray, breakdown: Breakdown) -> pa.Array:
    """The part that each value is in; rows of other dimensions have one too, never read."""
    named = [str(hour) for hour in range(breakdown.num_parts)] if breakdown.dimension == "hour" else breakdown.entries
    others = 0 if breakdown.dimension == "hour" else breakdown.num_parts - 1
    return pc.index_in(values, pa.array(named, pa.string())).fill_null(others)


def as_date(text: str | None) -> date | None:
    """A date in the forms in which Spark casts text to one; None for anything else."""
    found = _DATE.fullmatch((text or "").strip(_BLANK))
    try:
        return date(*(int(part or 1) for part in found.groups())) if found else None
    except ValueError:
        return None


def as_number(text: str | None) -> float | None:
    """A finite number below 2^63 in the forms in which Spark casts text to one; None for anything else."""
    if not _NUMBER.fullmatch(plain := (text or "").strip(_BLANK)):
        return None
    number = float(plain.rstrip("dDfF"))
    return number if math.isfinite(number) and abs(number) < NO_NUMBER else None


def _days(dates: pa.ChunkedArray) -> pa.ChunkedArray:
    return dates.cast(_INT)


def _list(values: pa.Array | pa.ChunkedArray) -> pa.ListArray:
    """One list of all values."""
    flat = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return pa.ListArray.from_arrays(pa.array(np.array([0, len(flat)], dtype=np.int32)), flat)
