"""The live files of a Delta table from a log written by hand."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memberlevel_spark.delta_log import latest_version, read_snapshot
from memberlevel_spark.errors import ArtefactError

PROTOCOL = {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}
METADATA = {"metaData": {"configuration": {}, "partitionColumns": []}}


def added(path: str, **more: object) -> dict[str, object]:
    return {"add": {"path": path, "partitionValues": {}, **more}}


def removed(path: str) -> dict[str, object]:
    return {"remove": {"path": path}}


def commit(table: Path, version: int, *actions: dict[str, object]) -> Path:
    path = table / "_delta_log" / f"{version:020d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(action) for action in actions) + "\n")
    return path


def checkpoint(table: Path, version: int, *paths: str, part: str = "") -> Path:
    add = pa.struct(
        [("path", pa.string()), ("partitionValues", pa.map_(pa.string(), pa.string())), ("stats", pa.string())]
    )
    schema = pa.schema(
        [
            ("add", add),
            ("protocol", pa.struct([("minReaderVersion", pa.int32())])),
            ("metaData", pa.struct([("configuration", pa.map_(pa.string(), pa.string()))])),
        ]
    )
    rows = [{"add": {"path": path, "partitionValues": {"split": "train"}, "stats": None}} for path in paths]
    rows += [{"protocol": {"minReaderVersion": 1}}, {"metaData": {"configuration": {}}}]
    path = table / "_delta_log" / f"{version:020d}.checkpoint{part}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


def names(table: Path) -> list[str]:
    return [Path(file.path).name for file in read_snapshot(table).files]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three commits: a and b, then c in the place of a, then d."""
    table = tmp_path / "member_days"
    commit(table, 0, PROTOCOL, METADATA, added("a.parquet"), added("b.parquet"))
    commit(table, 1, added("c.parquet"), removed("a.parquet"))
    commit(table, 2, {"commitInfo": {"operation": "WRITE"}}, added("d.parquet"))
    return table


def test_the_files_of_the_last_version_are_those_added_and_not_removed(table: Path):
    assert (latest_version(table), read_snapshot(table).version) == (2, 2)
    assert names(table) == ["b.parquet", "c.parquet", "d.parquet"]


def test_a_file_that_a_commit_removes_and_adds_anew_stays(table: Path):
    commit(table, 3, added("b.parquet"), removed("b.parquet"))
    assert names(table) == ["b.parquet", "c.parquet", "d.parquet"]


def test_of_each_file_are_told_its_path_its_partition_and_the_range_of_columns(table: Path):
    stats = json.dumps({"numRecords": 1, "minValues": {"day": "2024-01-01"}, "maxValues": {"day": "2024-02-01"}})
    commit(table, 3, added("rules_version=a%20b/e.parquet", partitionValues={"rules_version": "a b"}, stats=stats))
    file = read_snapshot(table).files[-1]
    assert file.path == str(table / "rules_version=a b" / "e.parquet") and file.partition == {"rules_version": "a b"}
    assert (file.least, file.largest) == ({"day": "2024-01-01"}, {"day": "2024-02-01"})
    assert read_snapshot(table).files[0].largest == {}


def test_a_checkpoint_stands_for_the_commits_before_it(table: Path):
    checkpoint(table, 2, "b.parquet", "c.parquet", "d.parquet")
    for version in (0, 1, 2):
        (table / "_delta_log" / f"{version:020d}.json").unlink()
    commit(table, 3, removed("d.parquet"), added("e.parquet"))
    assert names(table) == ["b.parquet", "c.parquet", "e.parquet"] and read_snapshot(table).version == 3
    assert read_snapshot(table).files[0].partition == {"split": "train"}
    (table / "_delta_log" / f"{3:020d}.json").unlink()
    assert (latest_version(table), names(table)) == (2, ["b.parquet", "c.parquet", "d.parquet"])


def test_a_checkpoint_of_which_a_part_is_missing_is_not_used(table: Path):
    first, second = (f".{part:010d}.{2:010d}" for part in (1, 2))
    checkpoint(table, 2, "wrong.parquet", part=first)
    assert names(table) == ["b.parquet", "c.parquet", "d.parquet"]
    checkpoint(table, 2, "e.parquet", part=second)
    assert names(table) == ["e.parquet", "wrong.parquet"]


def test_a_folder_without_a_log_is_no_table(tmp_path: Path):
    assert latest_version(tmp_path / "members") is None
    with pytest.raises(ArtefactError, match=r"a table is missing: members \(.*Run the stage that makes it first"):
        read_snapshot(tmp_path / "members")


def test_a_log_with_a_gap_is_refused(table: Path):
    (table / "_delta_log" / f"{1:020d}.json").unlink()
    with pytest.raises(ArtefactError, match=r"a Delta log has lost entries: member_days versions 1\. Restore"):
        read_snapshot(table)


def test_a_damaged_commit_or_checkpoint_is_named(table: Path):
    path = commit(table, 3, added("e.parquet"))
    path.write_text(path.read_text()[:-9])
    with pytest.raises(ArtefactError, match=rf"a Delta log cannot be read: member_days, {path.name}"):
        read_snapshot(table)
    path.unlink()
    path = checkpoint(table, 2, "b.parquet")
    path.write_bytes(b"PAR1")
    with pytest.raises(ArtefactError, match=rf"a Delta log cannot be read: member_days, {path.name}"):
        read_snapshot(table)


@pytest.mark.parametrize(
    ("actions", "wrong"),
    [
        ([added("e.parquet", deletionVector={"storageType": "u"})], "deletionVectors"),
        ([{"metaData": {"configuration": {"delta.columnMapping.mode": "name"}}}], "columnMapping"),
        ([{"protocol": {"minReaderVersion": 3, "readerFeatures": ["variantType"]}}], "variantType"),
    ],
)
def test_a_table_whose_files_are_not_all_there_is_to_it_is_refused(
    table: Path, actions: list[dict[str, object]], wrong: str
):
    commit(table, 3, *actions)
    with pytest.raises(ArtefactError, match=f"a table cannot be read as plain Parquet: member_days uses {wrong}. Run"):
        read_snapshot(table)


def test_features_that_no_file_makes_use_of_do_no_harm(table: Path):
    commit(table, 3, {"protocol": {"minReaderVersion": 3, "readerFeatures": ["deletionVectors", "columnMapping"]}})
    assert names(table) == ["b.parquet", "c.parquet", "d.parquet"]
