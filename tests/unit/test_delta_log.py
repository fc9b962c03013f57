"""The live files of a Delta table from a log written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memberlevel_spark.delta_log import LOG, latest_version, read_log, read_snapshot
from memberlevel_spark.errors import ArtefactError
from tests.written_log import METADATA, PROTOCOL, added, checkpoint, commit, removed


def with_log(table: Path) -> Path:
    (table / LOG).mkdir()
    return table


def sizes(table: Path) -> dict[str, int]:
    return {path: add["size"] for path, add in read_log(table).added.items()}


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
    checkpoint(table, 2, {"b.parquet": 1, "c.parquet": 1, "d.parquet": 1})
    for version in (0, 1, 2):
        (table / "_delta_log" / f"{version:020d}.json").unlink()
    commit(table, 3, removed("d.parquet"), added("e.parquet"))
    assert names(table) == ["b.parquet", "c.parquet", "e.parquet"] and read_snapshot(table).version == 3
    assert read_snapshot(table).files[0].partition == {"split": "train"}
    (table / "_delta_log" / f"{3:020d}.json").unlink()
    assert (latest_version(table), names(table)) == (2, ["b.parquet", "c.parquet", "d.parquet"])


def test_a_folder_without_a_log_is_no_table(tmp_path: Path):
    assert latest_version(tmp_path / "members") is None
    with pytest.raises(ArtefactError, match=r"a table is missing: members \(.*Run the stage that makes it first"):
        read_snapshot(tmp_path / "members")


def test_a_log_with_a_gap_is_refused(table: Path):
    (table / "_delta_log" / f"{1:020d}.json").unlink()
    with pytest.raises(ArtefactError, match=r"member_days has gaps in its log: version\(s\) 1 lack. Restore"):
        read_snapshot(table)


def test_a_damaged_commit_or_checkpoint_is_named(table: Path):
    path = commit(table, 3, added("e.parquet"))
    path.write_text(path.read_text()[:-9])
    with pytest.raises(ArtefactError, match=rf"a commit cannot be read: {path}"):
        read_snapshot(table)
    path.unlink()
    [path] = checkpoint(table, 2, {"b.parquet": 1})
    path.write_bytes(b"PAR1")
    with pytest.raises(ArtefactError, match=rf"a checkpoint cannot be read: {path}"):
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


def test_a_log_is_replayed_from_its_first_commit(tmp_path: Path):
    commit(tmp_path, 0, PROTOCOL, added("a", 5), added("month=2024-01-01%2000/b%25", 7))
    commit(tmp_path, 1, removed("a"), added("c", 9))
    log = read_log(tmp_path)
    assert (log.version, log.features) == (1, set())
    assert sizes(tmp_path) == {"month=2024-01-01 00/b%": 7, "c": 9}


def test_commits_before_a_checkpoint_are_not_needed_and_those_after_it_are(tmp_path: Path):
    checkpoint(with_log(tmp_path), 10, {"a": 1, "b": 2, "c": 3}, parts=3)
    commit(tmp_path, 11, removed("b"))
    commit(tmp_path, 12, added("d", 4))
    assert (read_log(tmp_path).version, sizes(tmp_path)) == (12, {"a": 1, "c": 3, "d": 4})
    (tmp_path / LOG / f"{11:020d}.json").unlink()
    with pytest.raises(ArtefactError, match=r"has gaps in its log: version\(s\) 11 lack. Restore its _delta_log"):
        read_log(tmp_path)


def test_a_checkpoint_that_lacks_a_part_is_passed_over_and_a_damaged_one_is_named(tmp_path: Path):
    commit(tmp_path, 0, PROTOCOL, added("a"))
    checkpoint(tmp_path, 0, {"a": 1}, parts=2)
    part = tmp_path / LOG / f"{0:020d}.checkpoint.{2:010d}.{2:010d}.parquet"
    content = part.read_bytes()
    part.unlink()
    assert sizes(tmp_path) == {"a": 1}
    part.write_bytes(content[:-9] + b"\0" * 9)
    with pytest.raises(ArtefactError, match=r"a checkpoint cannot be read: .*checkpoint.0000000002"):
        read_log(tmp_path)


def test_a_log_without_its_first_commits_a_cut_commit_and_an_empty_log_are_named(tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"a table is missing: .*has no commit"):
        read_log(with_log(tmp_path))
    commit(tmp_path, 2, added("a"))
    with pytest.raises(ArtefactError, match=r"gaps in its log: version\(s\) 0, 1 lack"):
        read_log(tmp_path)
    for version in (0, 1):
        commit(tmp_path, version, PROTOCOL)
    path = tmp_path / LOG / f"{2:020d}.json"
    path.write_text(path.read_text()[:60])
    with pytest.raises(ArtefactError, match=rf"a commit cannot be read: {path}"):
        read_log(tmp_path)
    path.unlink()
    for version in (0, 1):
        (tmp_path / LOG / f"{version:020d}.json").unlink()
    (tmp_path / LOG / f"{5:020d}.checkpoint.{'0' * 8}-0000-0000-0000-{'0' * 12}.parquet").write_bytes(b"")
    last = commit(tmp_path, 6, added("a"))
    with pytest.raises(ArtefactError, match=r"checkpoints of a kind that is not looked at. Ask Spark"):
        read_log(tmp_path)
    assert latest_version(tmp_path) == 6
    last.unlink()
    assert latest_version(tmp_path) == 5


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.tuples(st.booleans(), st.sampled_from("abcde")), max_size=4), min_size=1, max_size=9),
    st.sets(st.integers(0, 8)),
    st.integers(1, 3),
)
def test_any_log_with_any_checkpoints_is_what_a_plain_replay_makes_of_it(
    tmp_path_factory: pytest.TempPathFactory, commits: list[Any], checkpoints: set[int], parts: int
):
    table, live = tmp_path_factory.mktemp("table"), dict[str, int]()
    for version, actions in enumerate(commits):
        commit(table, version, *(added(name, version) if is_add else removed(name) for is_add, name in actions))
        for is_add, name in sorted(actions):  # removals first
            live.pop(name, None)
            live |= {name: version} if is_add else {}
        if version in checkpoints:
            checkpoint(table, version, live, parts)
    newest = max([version for version in checkpoints if version < len(commits)], default=-1)
    for version in range(newest):
        (table / LOG / f"{version:020d}.json").unlink()
    assert (read_log(table).version, sizes(table)) == (len(commits) - 1, live)
