"""The doctor on the small shop: nothing to say of a healthy one; every damage is named, with its repair."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from memberlevel_spark.cli import run_job
from memberlevel_spark.training.checkpoint import Checkpoint, save

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]
SECRET, RAW_MEMBER = "a key for tests only", "cx011"


@pytest.fixture
def copied(shop: Path, tmp_path: Path) -> Path:
    """The shop, to be damaged."""
    return Path(shutil.copytree(shop, tmp_path / "small_shop"))


def examined(
    shop_dir: Path, small_shop: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, list[str]]:
    """Exit code and lines; the key is in the configuration, and no line tells it."""
    capsys.readouterr()
    code = run_job("doctor", ["--config", str(small_shop), "--set", f"output_dir={shop_dir.parent}", *options])
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err and RAW_MEMBER not in shown.out
    return code, shown.out.splitlines()


def test_of_a_healthy_shop_everything_is_ok_and_nothing_is_changed(
    copied: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    save(copied / "runs" / "train-cut", 10, Checkpoint({"w": torch.ones(3)}, {"fingerprint": "f"}))
    before = {path: path.stat().st_mtime_ns for path in sorted(copied.rglob("*"))}
    code, lines = examined(copied, small_shop, capsys, "--deep")
    assert (code, [line for line in lines[:-1] if not line.startswith("ok ")]) == (0, [])
    assert lines[-1] == f"{len(lines) - 1} ok, 0 warning(s), 0 broken"
    told = "\n".join(lines)
    version = json.loads((copied / "registry" / "champion.json").read_text())["model_version"]
    for what in ("python", "java", "packages", "delta jars", "pseudonym key: present", "shop folder", "table events"):
        assert f"ok       {what}" in told, what
    assert f"ok       champion: {version}" in told and "table bronze_orders" in told
    assert "checkpoint runs/train-cut/checkpoints/step-00000010: as it was written" in told
    assert {path: path.stat().st_mtime_ns for path in sorted(copied.rglob("*"))} == before


def data_file(shop_dir: Path, table: str) -> Path:
    """A live file of the newest version."""
    log = sorted((shop_dir / "tables" / table / "_delta_log").glob("*.json"))[-1]
    added = [json.loads(line)["add"]["path"] for line in log.read_text().splitlines() if "add" in json.loads(line)]
    return shop_dir / "tables" / table / added[0]


def last_commit(shop_dir: Path, table: str) -> Path:
    return sorted((shop_dir / "tables" / table / "_delta_log").glob("*.json"))[-1]


def lose_a_file(shop_dir: Path) -> str:
    data_file(shop_dir, "member_scores").unlink()
    return "table member_scores: * 1 of them damaged: part-* (missing). Restore * run the stage score for all dates."


def cut_a_file(shop_dir: Path) -> str:
    file = data_file(shop_dir, "member_days")
    file.write_bytes(file.read_bytes()[:-100])
    return "table member_days: * bytes instead of *"


def cut_a_commit(shop_dir: Path) -> str:
    commit = last_commit(shop_dir, "member_levels")
    commit.write_text(commit.read_text()[:-40])
    return f"table member_levels: a commit cannot be read: {commit} (*). Restore its _delta_log from a copy*"


def lose_a_commit(shop_dir: Path) -> str:
    (shop_dir / "tables" / "quarantine" / "_delta_log" / f"{0:020d}.json").unlink()
    return "table quarantine: quarantine has gaps in its log: version(s) 0 lack. Restore*"


def lose_a_table(shop_dir: Path) -> str:
    shutil.rmtree(shop_dir / "tables" / "member_advice")
    return "table member_advice: it was written and is gone. Restore *run the stage advise for all dates."


def turn_on_deletion_vectors(shop_dir: Path) -> str:
    commit = last_commit(shop_dir, "examples")
    later = commit.with_name(f"{int(commit.stem) + 1:020d}.json")
    features = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"]}
    later.write_text(json.dumps({"protocol": {**features, "writerFeatures": ["deletionVectors"]}}) + "\n")
    return "table examples: * cannot be read as plain Parquet: deletionVectors. Run REORG TABLE*"


def change_a_weight(shop_dir: Path) -> str:
    version = json.loads((shop_dir / "registry" / "champion.json").read_text())["model_version"]
    weights = shop_dir / "registry" / version / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return f"bundle {version}: a model bundle is damaged: {version}, files model.safetensors. Remove the folder*"


def point_nowhere(shop_dir: Path) -> str:
    (shop_dir / "registry" / "champion.json").write_text('{"model_version": "m000000000000"}')
    return "champion: it points to m000000000000, which is missing or damaged. Run `python -m jobs.promote`*"


def spoil_the_alias(shop_dir: Path) -> str:
    (shop_dir / "registry" / "champion.json").write_text('{"model_version": ')
    return "champion: * is no JSON. Run the stage register again*"


def change_a_checkpoint(shop_dir: Path) -> str:
    run_dir = shop_dir / "runs" / "train-cut" / "refit"
    save(run_dir, 10, Checkpoint({"w": torch.ones(3)}, {"fingerprint": "f"}))
    folder = run_dir / "checkpoints" / "step-00000010"
    (folder / "state.json").write_text("{}")
    return f"checkpoint runs/train-cut/refit/checkpoints/step-00000010: state.json not as written. Remove {folder}*"


def lose_a_manifest(shop_dir: Path) -> str:
    change_a_checkpoint(shop_dir)
    (shop_dir / "runs/train-cut/refit/checkpoints/step-00000010/manifest.json").unlink()
    return "checkpoint runs/train-cut/refit/checkpoints/step-00000010: manifest.json not as written*"


@pytest.mark.parametrize(
    "damage",
    [
        lose_a_file,
        cut_a_file,
        cut_a_commit,
        lose_a_commit,
        lose_a_table,
        turn_on_deletion_vectors,
        change_a_weight,
        point_nowhere,
        spoil_the_alias,
        change_a_checkpoint,
        lose_a_manifest,
    ],
)
def test_every_damage_is_named_with_its_repair(
    copied: Path, small_shop: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], str]
):
    expected = damage(copied).split("*")
    code, lines = examined(copied, small_shop, capsys)
    bad = [line for line in lines if line.startswith("broken ")]
    assert code == 1
    # A champion whose bundle is damaged is said to be so as well.
    assert len(bad) == (2 if damage is change_a_weight else 1) and f", {len(bad)} broken" in lines[-1]
    place = 0
    for part in expected:
        assert part in bad[0][place:], (part, bad[0])
        place = bad[0].index(part, place) + len(part)


def test_damage_inside_of_a_file_is_found_by_a_deep_look_only(
    copied: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    file = data_file(copied, "member_features")
    metadata = pq.read_metadata(file)
    columns = [metadata.row_group(0).column(place) for place in range(metadata.num_columns)]
    largest = max(columns, key=lambda column: column.total_compressed_size)
    start = largest.dictionary_page_offset or largest.data_page_offset
    end = start + largest.total_compressed_size
    content = bytearray(file.read_bytes())
    content[end - 8 : end] = bytes(byte ^ 0xFF for byte in content[end - 8 : end])
    file.write_bytes(content)
    assert examined(copied, small_shop, capsys)[0] == 0
    code, lines = examined(copied, small_shop, capsys, "--deep")
    (bad,) = [line for line in lines if line.startswith("broken ")]
    assert code == 1 and "table member_features:" in bad and file.name in bad


def test_what_works_and_deserves_a_look_is_a_warning(
    copied: Path, small_shop: Path, capsys: pytest.CaptureFixture[str]
):
    (copied / "registry" / "champion.json").rename(copied / "registry" / "kept")
    (copied / "runs" / "stages" / "report.json").unlink()
    code, lines = examined(copied, small_shop, capsys)
    warnings = [line for line in lines if line.startswith("warning ")]
    assert code == 0 and len(warnings) == 2
    assert warnings[0].startswith("warning  stages that have not run here: report. Run them in their order")
    assert warnings[1].startswith("warning  champion: there is none, nothing can be scored. Train, evaluate")
    (copied / "registry" / "kept").rename(copied / "registry" / "champion.json")
    code, lines = examined(copied, small_shop, capsys, "--set", "levels.window_days=90")
    assert code == 0 and any("was trained for another level programme, it cannot score" in line for line in lines)
