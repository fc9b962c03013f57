"""Arrow text: JSON and CSV lines, times, amounts and ids of whole columns at once. No Spark."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from memberlevel_spark.synthetic.draws import Keys
from memberlevel_spark.synthetic.members import Bools, Ints
from memberlevel_spark.synthetic.plan import DAY_SECONDS, WorldPlan

HEX_DIGITS = 16


def json_lines(columns: Mapping[str, pa.Array]) -> pa.Array:
    """One JSON object per row; a null leaves its key out, the first column has none. Text must be escaped already."""
    pieces = []
    for number, (name, values) in enumerate(columns.items()):
        opening = f'{"{" if number == 0 else ","}"{name}":'
        if pa.types.is_string(values.type):
            pieces.append(glued(opening + '"', values, '"'))
        else:
            pieces.append(glued(opening, pc.cast(values, pa.string())))
    return pc.binary_join_element_wise(*pieces, "}", "", null_handling="replace", null_replacement="")


def csv_lines(columns: Sequence[pa.Array]) -> pa.Array:
    """One CSV line per row; no value may need quotes. A null is empty."""
    cells = [pc.cast(values, pa.string()) for values in columns]
    return pc.binary_join_element_wise(*cells, ",", null_handling="replace", null_replacement="")


def chosen(texts: Sequence[str], positions: Ints, *, missing: int | None = None) -> pa.Array:
    """The text at each position; null where the position is ``missing``."""
    mask = None if missing is None else positions == missing
    safe = positions if mask is None else np.where(mask, 0, positions)
    return pa.array(texts, pa.string()).take(pa.array(safe, mask=mask))


def local_times(plan: WorldPlan, day: Ints, second: Ints, *, separator: str = " ") -> pa.Array:
    """``2024-05-05 10:00:00`` in the shop's zone, without the zone."""
    first = np.datetime64(plan.first_day, "s").astype(np.int64)
    text = pc.cast(pa.array(first + day * DAY_SECONDS + second, pa.timestamp("s")), pa.string())
    return text if separator == " " else pc.replace_substring(text, " ", separator)


def utc_times(plan: WorldPlan, day: Ints, second: Ints) -> pa.Array:
    """``2024-05-05T08:00:00Z``: the same instants in UTC, saying so."""
    return glued(local_times(plan, day, second - plan.utc_offset_D[day], separator="T"), "Z")


def days_text(plan: WorldPlan, day: Ints) -> pa.Array:
    """``2024-05-05``."""
    first = np.datetime64(plan.first_day, "D").astype(np.int32)
    return pc.cast(pa.array((first + day).astype(np.int32), pa.date32()), pa.string())


def amounts_text(amount: Ints, digits: Ints) -> pa.Array:
    """Amounts in minor units as decimal text: 1234 with 2 digits is 12.34, with 0 it is 1234; none is negative."""
    text = pa.nulls(len(amount), pa.string())
    for number in np.unique(digits).tolist():
        text = pc.if_else(pa.array(digits == number), _decimal(amount, number), text)
    return text


def hex_ids(prefix: str, keys: Keys) -> pa.Array:
    """A prefix and the 16 hexadecimal digits of each key."""
    digits = keys.astype(">u8").tobytes().hex().encode()
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(HEX_DIGITS), len(keys), [None, pa.py_buffer(digits)])
    return glued(prefix, pc.cast(pc.cast(fixed, pa.binary()), pa.string()))


def only_where(condition: Bools, values: pa.Array) -> pa.Array:
    """The values where the condition holds, else null."""
    return pc.if_else(pa.array(condition), values, pa.scalar(None, values.type))


def glued(*parts: pa.Array | str) -> pa.Array:
    """Text next to each other; null where a part is."""
    return pc.binary_join_element_wise(*parts, "")


def numbers_text(values: Ints, width: int) -> pa.Array:
    """Whole numbers with leading zeros."""
    return pc.utf8_lpad(pc.cast(pa.array(values), pa.string()), width, "0")


def _decimal(amount: Ints, digits: int) -> pa.Array:
    whole = pc.cast(pa.array(amount // 10**digits), pa.string())
    return whole if digits == 0 else glued(whole, ".", numbers_text(amount % 10**digits, digits))
