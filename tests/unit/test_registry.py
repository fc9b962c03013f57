"""Bundles and aliases."""

import json
from pathlib import Path

import pytest

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.registry.bundle import load_bundle, previous_of, publish, read_alias, write_alias

FILES = {
    "model.safetensors": b"w",
    "model.json": b"{}",
    "calibrators.json": b"{}",
    "encoder.json": b"{}",
    "levels.json": b"{}",
    "lineage.json": b"1",
}


def test_a_bundle_comes_back_whole_and_the_same_model_is_one_bundle(tmp_path: Path):
    version = publish(tmp_path, FILES)
    assert publish(tmp_path, {**FILES, "lineage.json": b"2"}) == version
    assert load_bundle(tmp_path, version).files == FILES
    for name in ("model.safetensors", "calibrators.json"):
        assert publish(tmp_path, {**FILES, name: b"v"}) != version
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_a_missing_or_an_added_file_is_named(tmp_path: Path, name: str):
    version = publish(tmp_path, FILES)
    (tmp_path / version / name).write_bytes(b"X")
    with pytest.raises(ArtefactError, match=rf"a model bundle is damaged: {version}, files {name}"):
        load_bundle(tmp_path, version)
    (tmp_path / version / name).unlink()
    with pytest.raises(ArtefactError, match=rf"files {name}"):
        load_bundle(tmp_path, version)
    (tmp_path / version / name).write_bytes(FILES[name])
    (tmp_path / version / "extra.pkl").write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"files extra.pkl"):
        load_bundle(tmp_path, version)


def test_a_manifest_that_was_rewritten_with_the_weights_is_refused_too(tmp_path: Path):
    version, other = publish(tmp_path, FILES), publish(tmp_path, {**FILES, "model.json": b"[]"})
    for path in (tmp_path / other).iterdir():
        (tmp_path / version / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ArtefactError, match=r"of another version"):
        load_bundle(tmp_path, version)


def test_a_bundle_from_before_there_were_calibrators_keeps_its_version(tmp_path: Path):
    before = {name: content for name, content in FILES.items() if name != "calibrators.json"}
    version = publish(tmp_path, before)
    assert version == "m73c5856744f7"
    assert load_bundle(tmp_path, version).files == before


def test_a_missing_bundle_is_an_error(tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"there is no model bundle"):
        load_bundle(tmp_path, "m0")


def test_an_alias_points_at_one_version_and_keeps_the_decision(tmp_path: Path):
    assert read_alias(tmp_path, "champion") is None
    write_alias(tmp_path, "champion", "m1", {"passed": True})
    write_alias(tmp_path, "champion", "m2", {"passed": True})
    assert read_alias(tmp_path, "champion") == "m2"
    assert json.loads((tmp_path / "champion.json").read_text())["decision"] == {"passed": True}


def test_an_alias_remembers_where_it_pointed_before(tmp_path: Path):
    assert previous_of(tmp_path, "champion") is None
    for version, before in (("m1", None), ("m1", None), ("m2", "m1"), ("m2", "m1"), ("m1", "m2")):
        write_alias(tmp_path, "champion", version, {})
        assert (read_alias(tmp_path, "champion"), previous_of(tmp_path, "champion")) == (version, before)
