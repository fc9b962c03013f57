"""Bundles: everything needed to score, in one folder that is verified before it is used.

``registry/<model_version>/`` holds model.safetensors, model.json (network), calibrators.json, encoder.json,
typical.json, canary.json, profile.json, score_profile.json, levels.json, config.yaml, metrics.json, lineage.json,
trained_on.json, model_card.md and manifest.json with the SHA-256 of every other file. The version is a digest of what
decides the scores, so the same model registered twice is one bundle. A bundle appears whole or not at all.
Bundles from before there were calibrators lack that file: they keep their version, and nothing is calibrated.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.models.calibrators import CALIBRATORS

MANIFEST = "manifest.json"
DECIDES_SCORES = ("model.safetensors", "model.json", "encoder.json", "levels.json", CALIBRATORS)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, its files in memory as they were checked."""

    version: str
    files: Mapping[str, bytes]

    def text(self, name: str) -> str:
        """One of its text files."""
        return self.files[name].decode("utf-8")


def version_of(files: Mapping[str, bytes]) -> str:
    """``m`` and 12 hex digits of SHA-256 over the files that decide the scores."""
    digest = hashlib.sha256()
    for name in DECIDES_SCORES:
        if name in files or name != CALIBRATORS:
            digest.update(hashlib.sha256(files[name]).digest())
    return "m" + digest.hexdigest()[:12]


def publish(registry: Path, files: Mapping[str, bytes]) -> str:
    """Write a bundle and return its version; one that is there already, whole, is left untouched."""
    version = version_of(files)
    target = registry / version
    if target.is_dir():
        load_bundle(registry, version)
        return version
    registry.mkdir(parents=True, exist_ok=True)
    staging = registry / f".{version}.{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    for name, content in files.items():
        write_file(staging / name, content)
    write_file(staging / MANIFEST, json.dumps(_digests(files), indent=1, sort_keys=True).encode())
    staging.rename(target)
    return version


def load_bundle(registry: Path, version: str) -> Bundle:
    """Read and verify a bundle. Errors: ArtefactError naming every missing, added or changed file."""
    folder = registry / version
    if not (folder / MANIFEST).is_file():
        raise ArtefactError(f"there is no model bundle: {folder}. Run the stage register, or choose another version.")
    expected = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    found = _digests(files)
    wrong = {name for name in {*expected, *found} if expected.get(name) != found.get(name)}
    if wrong or version_of(files) != version:
        raise ArtefactError(
            f"a model bundle is damaged: {version}, files {first_five(wrong) or 'of another version'}."
            " Remove the folder and run the stage register again; the scores made so far stay as they are."
        )
    return Bundle(version, files)


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is on the disk when this returns."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_alias(registry: Path, alias: str, version: str, decision: Mapping[str, object]) -> None:
    """Point an alias at a version, with the decision that made it so; the pointer changes in one step.

    It keeps the version that it pointed at before, if that was another one.
    """
    registry.mkdir(parents=True, exist_ok=True)
    now = read_alias(registry, alias)
    previous = now if now != version else previous_of(registry, alias)
    pointer = {"model_version": version, "previous": previous, "decision": decision}
    staging = registry / f".{alias}.{os.getpid()}"
    write_file(staging, json.dumps(pointer, indent=1, sort_keys=True).encode())
    staging.rename(registry / f"{alias}.json")


def read_alias(registry: Path, alias: str) -> str | None:
    """The version an alias points at, None when it points nowhere yet."""
    return _pointer(registry, alias).get("model_version")


def previous_of(registry: Path, alias: str) -> str | None:
    """The version an alias pointed at before, None when there was none."""
    return _pointer(registry, alias).get("previous")


def _pointer(registry: Path, alias: str) -> dict[str, Any]:
    path = registry / f"{alias}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
