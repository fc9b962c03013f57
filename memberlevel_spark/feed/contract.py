"""What the files of `examples` must be before the first training step; everything found is reported at once.

In: the files of a split. Out: nothing, or one DataQualityError that names each field with what was found and expected.

Shape legend: R rows of a row group, F features.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.errors import DataQualityError, first_five
from memberlevel_spark.feed.fields import LEVEL_NOW, TARGET, Fields, column_to_numpy
from memberlevel_spark.feed.plan import RowGroup
from memberlevel_spark.feed.store import open_file


def check_contract(groups: Sequence[RowGroup], *, fields: Fields, num_levels: int) -> None:
    """Check fields, types, lengths of lists, nulls and level range in every footer, and values in one row group.

    Footers carry value counts, null counts and smallest and largest values, so this reads almost nothing. The row group
    shows what footers cannot: lists of different lengths that add up, and values that are not finite.

    Raises:
        DataQualityError: at least one field is not as expected.
    """
    filled = sorted({group.path for group in groups if group.num_rows})
    problems: list[str] = []
    for path in filled:
        with open_file(path) as source:
            footer = pq.read_metadata(source)
        wrong_fields = list(_field_problems(footer.schema.to_arrow_schema(), fields))
        # Counts of a field with another type would only repeat the complaint.
        found = wrong_fields or list(_footer_problems(footer, fields, num_levels))
        problems += [f"{problem} in {path}" for problem in found]
    if filled and not problems:
        problems = [f"{problem} in {filled[0]}" for problem in _value_problems(filled[0], fields)]
    if problems:
        raise DataQualityError(f"examples cannot be trained on: {first_five(problems)}. Rebuild the examples table.")


def _field_problems(schema: pa.Schema, fields: Fields) -> Iterator[str]:
    for name, expected in fields.types.items():
        if name not in schema.names:
            yield f"{name}: found no such field, expected {_plain(expected)}"
        elif _plain(schema.field(name).type) != _plain(expected):
            yield f"{name}: found {_plain(schema.field(name).type)}, expected {_plain(expected)}"


def _plain(data_type: pa.DataType) -> str:
    """Name a type without the name and the null mark of a list's element, which differ between writers."""
    return f"list<{_plain(data_type.value_type)}>" if pa.types.is_list(data_type) else str(data_type)


def _footer_problems(footer: pq.FileMetaData, fields: Fields, num_levels: int) -> Iterator[str]:
    for group_index in range(footer.num_row_groups):
        group = footer.row_group(group_index)
        for column in (group.column(index) for index in range(group.num_columns)):
            field = column.path_in_schema.split(".")[0]
            if field not in fields.types:
                continue
            length = fields.lengths.get(field)
            if length is not None and column.num_values != group.num_rows * length:
                average = column.num_values / group.num_rows
                yield f"{field}: found {average:g} values per row, expected {length}"
            statistics = column.statistics
            if statistics is None:
                continue
            if statistics.null_count:
                yield f"{field}: found {statistics.null_count} nulls, expected none"
            if field in (LEVEL_NOW, TARGET) and statistics.has_min_max:
                lowest, highest = statistics.min, statistics.max
                if lowest < 0 or highest >= num_levels:
                    yield f"{field}: found {lowest} to {highest}, expected 0 to {num_levels - 1}"


def _value_problems(path: str, fields: Fields) -> Iterator[str]:
    with open_file(path) as source:
        table = pq.ParquetFile(source).read_row_group(0, columns=list(fields.types))
    for name in fields.types:
        try:
            values = column_to_numpy(name, table.column(name))
        except DataQualityError as error:
            yield f"{name}: {error}"
            continue
        not_finite = int((~np.isfinite(values)).sum())
        if not_finite:
            yield f"{name}: found {not_finite} values that are not finite, expected none"
