"""A registry that machines share: bundles and aliases at a URL of any store that fsspec knows.

In: the registry's folder on this machine, and the URL. Out: the same files on the other side.

Everybody reads the folder; the URL says what is in it. A bundle goes up file by file and its manifest last, an alias
after the bundle it points at. What comes down is verified in a folder of its own; what is damaged is refused, and the
alias stays on the bundle before. Without a URL the folder is all there is, and nothing here does anything.

Keys and endpoints come from the environment, as each store's package reads them.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.registry.bundle import MANIFEST, load_bundle, write_file


def push_bundle(registry: Path, url: str | None, version: str) -> None:
    """Copy a bundle to the URL; one that is there already, whole, stays.

    Errors: those of ``load_bundle``; ConfigError and ArtefactError when the store cannot be used.
    """
    if url is None:
        return
    load_bundle(registry, version)
    with _store(url) as (files, root):
        try:
            _pulled(registry, files, f"{root}/{version}", version)
            return
        except ArtefactError:
            pass  # nothing is there, or not the whole of it
        names = sorted(path.name for path in (registry / version).iterdir() if path.name != MANIFEST)
        files.makedirs(f"{root}/{version}", exist_ok=True)
        for name in (*names, MANIFEST):
            files.pipe_file(f"{root}/{version}/{name}", (registry / version / name).read_bytes())


def push_alias(registry: Path, url: str | None, alias: str) -> None:
    """Copy an alias to the URL, once its bundle is there. Errors: as for ``push_bundle``."""
    if url is None:
        return
    with _store(url) as (files, root):
        files.pipe_file(f"{root}/{alias}.json", (registry / f"{alias}.json").read_bytes())


def pull_bundle(registry: Path, url: str | None, version: str) -> None:
    """Copy a bundle from the URL into the folder, unless it is there.

    Errors: ArtefactError when it is missing or damaged at the URL; ConfigError when the store is unknown.
    """
    if url is None or (registry / version).is_dir():
        return
    with _store(url) as (files, root):
        try:
            _pulled(registry, files, f"{root}/{version}", version, keep=True)
        except ArtefactError as problem:
            raise ArtefactError(
                f"a bundle of the shared registry is refused: {version} at {url} ({str(problem).partition('. ')[0]})."
                " Remove its folder there and run register or promote where it was made; the champion here stays."
            ) from None


def pull_alias(registry: Path, url: str | None, alias: str) -> None:
    """Make the folder's alias that of the URL, once the bundle it points at is in the folder; none there: none changes.

    Errors: those of ``pull_bundle``; ArtefactError for a pointer that cannot be read.
    """
    if url is None:
        return
    with _store(url) as (files, root):
        path = f"{root}/{alias}.json"
        pointer = files.cat_file(path) if files.exists(path) else None
    if pointer is None:
        return
    pull_bundle(registry, url, _version_in(pointer, f"{url}/{alias}.json"))
    here = registry / f"{alias}.json"
    if not here.is_file() or here.read_bytes() != pointer:
        staging = registry / f".{alias}.{os.getpid()}"
        write_file(staging, pointer)
        staging.rename(here)


def _version_in(pointer: bytes, path: str) -> str:
    try:
        version = str(json.loads(pointer)["model_version"])
    except (ValueError, KeyError, TypeError):
        version = ""
    if not re.fullmatch(r"\w+", version):
        raise ArtefactError(
            f"an alias of the shared registry cannot be read: {path} points at {version or 'nothing'}. Run promote on a"
            " machine that has the bundle; the champion here stays as it was."
        )
    return version


def _pulled(registry: Path, files: Any, remote: str, version: str, *, keep: bool = False) -> None:
    """Verify a bundle at the URL, and keep it in the folder where asked to. Errors: ArtefactError."""
    incoming = registry / f".incoming.{version}.{os.getpid()}"
    shutil.rmtree(incoming, ignore_errors=True)
    (incoming / version).mkdir(parents=True)
    try:
        # A store may remember what it listed before.
        files.invalidate_cache()
        for path in files.ls(remote, detail=False) if files.exists(remote) else []:
            write_file(incoming / version / path.rsplit("/", 1)[-1], files.cat_file(path))
        load_bundle(incoming, version)
        if keep:
            (incoming / version).rename(registry / version)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


@contextmanager
def _store(url: str) -> Iterator[tuple[Any, str]]:
    """The store's file system, and the path in it; its failures become errors of ours."""
    from fsspec.core import url_to_fs

    try:
        files, root = url_to_fs(url)
    except (ValueError, ImportError) as problem:
        raise ConfigError(
            f"registry.url names a store that cannot be used: {url} ({problem}). Install its package, or use another"
            " URL."
        ) from None
    try:
        yield files, root.rstrip("/")
    except OSError as problem:
        raise ArtefactError(
            f"the shared registry cannot be reached: {url} ({type(problem).__name__}: {problem}). Check the address and"
            " the rights; the champion here stays as it was."
        ) from None
