"""The model bundles, the champion among them, and the checkpoints of the run folders: is every byte as it was written.

In: the shop's folder. Out: one finding per bundle, alias and checkpoint.
"""

import hashlib
import json
from functools import partial
from pathlib import Path

from memberlevel_spark.config import Config
from memberlevel_spark.doctor.finding import Finding, broken, guarded, ok, warning
from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.registry.bundle import MANIFEST, load_bundle, read_alias

CHAMPION = "champion"


def registry_findings(config: Config) -> list[Finding]:
    """Every bundle, then the alias that says which one scores."""
    registry = config.shop_dir / "registry"
    bundles = sorted(path.name for path in registry.glob("m*") if path.is_dir())
    found = [guarded(f"bundle {version}", partial(_bundle, registry, version)) for version in bundles]
    return [*found, guarded(CHAMPION, partial(_champion, config, registry))]


def _bundle(registry: Path, version: str) -> Finding:
    return ok(f"bundle {version}: {len(load_bundle(registry, version).files)} files as they were written")


def _champion(config: Config, registry: Path) -> Finding:
    try:
        version = read_alias(registry, CHAMPION)
    except ValueError:
        repair = "Run the stage register again, or `python -m jobs.promote` with the version of a bundle."
        return broken(f"{CHAMPION}: {registry / CHAMPION}.json is no JSON", repair)
    if version is None:
        return warning(f"{CHAMPION}: there is none, nothing can be scored", "Train, evaluate and register a model.")
    try:
        levels = load_bundle(registry, version).files["levels.json"]
    except ArtefactError:
        repair = "Run `python -m jobs.promote` with the version of a bundle that is whole, or register a model."
        return broken(f"{CHAMPION}: it points to {version}, which is missing or damaged", repair)
    if levels != config.levels.model_dump_json().encode():
        repair = "Train and register a model for the present `levels`, or promote one that is."
        return warning(f"{CHAMPION}: {version} was trained for another level programme, it cannot score", repair)
    return ok(f"{CHAMPION}: {version}")


def run_findings(shop_dir: Path) -> list[Finding]:
    """Every finished checkpoint of every training; one line when there is none, as after trainings that ended well."""
    folders = sorted(path for path in shop_dir.glob("**/checkpoints/step-*") if path.is_dir())
    if not folders:
        return [ok("checkpoints: none, no training was cut off")]
    return [guarded(_name(shop_dir, path), partial(_checkpoint, shop_dir, path)) for path in folders]


def _checkpoint(shop_dir: Path, folder: Path) -> Finding:
    wrong = _wrong_files(folder)
    if wrong:
        repair = f"Remove {folder}; the training goes on from an earlier checkpoint, or from its start."
        return broken(f"{_name(shop_dir, folder)}: {first_five(wrong)} not as written", repair)
    return ok(f"{_name(shop_dir, folder)}: as it was written")


def _wrong_files(folder: Path) -> list[str]:
    """The files that differ from the manifest beside them, the manifest itself when it cannot be read."""
    try:
        expected = dict(json.loads((folder / MANIFEST).read_bytes()))
    except (OSError, ValueError, TypeError):
        return [MANIFEST]
    return [name for name, digest in expected.items() if _digest(folder / name) != digest]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _name(shop_dir: Path, folder: Path) -> str:
    return f"checkpoint {folder.relative_to(shop_dir)}"
