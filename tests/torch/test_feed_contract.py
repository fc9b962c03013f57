"""The contract: examples that cannot be trained on are refused before the first step: field, found, expected."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.feed.contract import check_contract
from memberlevel_spark.feed.fields import Fields
from memberlevel_spark.feed.plan import read_row_groups
from tests.torch.made_examples import (
    NUM_FEATURES,
    NUM_LEVELS,
    examples_table,
    replaced,
    with_feature,
    write_examples,
    write_table,
)

pytestmark = pytest.mark.torch


def check(*paths: str, num_features: int = NUM_FEATURES) -> None:
    check_contract(read_row_groups(paths), fields=Fields(num_features), num_levels=NUM_LEVELS)


def check_table(folder: Path, table: pa.Table) -> None:
    check(write_table(table, folder, part=0, row_group_rows=10))


def test_good_examples_and_files_without_rows_pass(tmp_path: Path) -> None:
    check(*write_examples(tmp_path, [0, 30, 20], row_group_rows=7))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    told = r"row_key: found no such field, expected int64 in .*part-00000-.*\. Rebuild the examples table"
    with pytest.raises(DataQualityError, match=told):
        check_table(tmp_path, examples_table(0, 5).drop_columns(["row_key"]))


@pytest.mark.parametrize(
    ("name", "values", "found", "expected"),
    [
        ("target_level", pa.array([0.0] * 5), "double", "int32"),
        ("level_now", pa.array([0] * 5, type=pa.int64()), "int64", "int32"),
        ("row_key", pa.array(["a"] * 5), "string", "int64"),
        ("features", pa.array([[0.5] * 6] * 5), "list<double>", "list<float>"),
        ("features", pa.array([0.5] * 5), "double", "list<float>"),
        ("features", pa.array([[[0.5]]] * 5), "list<list<double>>", "list<float>"),
    ],
)
def test_another_type_is_refused(tmp_path: Path, name: str, values: pa.Array, found: str, expected: str) -> None:
    with pytest.raises(DataQualityError, match=f"{name}: found {found}, expected {expected} in "):
        check_table(tmp_path, replaced(examples_table(0, 5), name, values))


def test_another_feature_length_in_any_file_is_refused(tmp_path: Path) -> None:
    (good,) = write_examples(tmp_path, [5])
    other = write_table(examples_table(5, 5, num_features=4), tmp_path, part=1)
    with pytest.raises(DataQualityError, match=r"features: found 4 values per row, expected 6 in .*part-00001"):
        check(good, other)


def test_lengths_that_differ_but_add_up_are_seen_in_the_values(tmp_path: Path) -> None:
    ragged = pa.array([[0.0] * 5, [0.0] * 7], type=pa.list_(pa.float32()))
    with pytest.raises(DataQualityError, match="features: features has lists of different lengths: 5 to 7"):
        check_table(tmp_path, replaced(examples_table(0, 2), "features", ragged))


@pytest.mark.parametrize("name", ["level_now", "target_level", "row_key", "as_of_day"])
def test_nulls_are_counted_from_the_footer_of_any_row_group(tmp_path: Path, name: str) -> None:
    table = examples_table(0, 25)
    values = pa.array([*table.column(name).to_pylist()[:-2], None, None], type=table.schema.field(name).type)
    with pytest.raises(DataQualityError, match=f"{name}: found 2 nulls, expected none in "):
        check_table(tmp_path, replaced(table, name, values))


def test_a_null_inside_a_feature_list_is_found(tmp_path: Path) -> None:
    lists = pa.array([[None, 0, 0, 0, 0, 0]], type=pa.list_(pa.float32()))
    with pytest.raises(DataQualityError, match="features: found 1 nulls, expected none"):
        check_table(tmp_path, replaced(examples_table(0, 1), "features", lists))


@pytest.mark.parametrize(("levels", "found"), [([0, 3], "0 to 3"), ([-1, 2], "-1 to 2")])
@pytest.mark.parametrize("name", ["level_now", "target_level"])
def test_levels_outside_the_programme_are_refused(tmp_path: Path, name: str, levels: list[int], found: str) -> None:
    table = replaced(examples_table(0, 2), name, pa.array(levels, type=pa.int32()))
    with pytest.raises(DataQualityError, match=f"{name}: found {found}, expected 0 to 2 in "):
        check_table(tmp_path, table)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_found_in_the_first_row_group(tmp_path: Path, value: float) -> None:
    table = with_feature(examples_table(0, 10), row=4, value=value)
    with pytest.raises(DataQualityError, match="features: found 1 values that are not finite, expected none in "):
        check_table(tmp_path, table)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    table = replaced(examples_table(0, 2).drop_columns(["level_now"]), "row_key", pa.array([1.5, 2.5]))
    with pytest.raises(DataQualityError, match=r"cannot be trained on: level_now: .*, row_key: "):
        check_table(tmp_path, table)
