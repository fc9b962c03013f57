"""A registry at a URL: what goes up comes down on another machine, and nothing that is damaged does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from memberlevel_spark.config import load_config
from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.registry.bundle import load_bundle, publish, read_alias, write_alias
from memberlevel_spark.registry.champion import CHAMPION, load_champion, registry_dir
from memberlevel_spark.registry.shared import pull_alias, pull_bundle, push_alias, push_bundle
from memberlevel_spark.run import Shop
from tests.small_shop import write_small_shop

FILES = dict.fromkeys(("model.json", "calibrators.json", "encoder.json", "levels.json", "lineage.json"), b"{}")
FILES["model.safetensors"] = b"first"
OTHER = {**FILES, "model.safetensors": b"second"}


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}/models" if request.param == "memory" else f"file://{tmp_path}/shared"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here" / "registry"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there" / "registry"


def share(registry: Path, url: str, files: dict[str, bytes] = FILES) -> str:
    version = publish(registry, files)
    push_bundle(registry, url, version)
    write_alias(registry, CHAMPION, version, {"passed": True})
    push_alias(registry, url, CHAMPION)
    return version


def store(url: str) -> tuple[Any, str]:
    return fsspec.core.url_to_fs(url)


def test_another_machine_gets_the_champion_and_later_the_next_one(here: Path, there: Path, url: str):
    pull_alias(there, url, CHAMPION)
    assert read_alias(there, CHAMPION) is None
    first = share(here, url)
    pull_alias(there, url, CHAMPION)
    assert read_alias(there, CHAMPION) == first and load_bundle(there, first).files == FILES
    second = share(here, url, OTHER)
    pull_alias(there, url, CHAMPION)
    assert read_alias(there, CHAMPION) == second and load_bundle(there, second).files == OTHER
    assert (there / "champion.json").read_bytes() == (here / "champion.json").read_bytes()
    assert sorted(path.name for path in there.iterdir()) == sorted([first, second, "champion.json"])


def test_the_manifest_goes_up_last_and_the_alias_after_it(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files, _ = store("memory://")
    written: list[str] = []
    honest = type(files).pipe_file

    def noted(self: Any, path: str, value: bytes, **more: Any) -> None:
        written.append(path.rsplit("/", 1)[-1])
        honest(self, path, value, **more)

    monkeypatch.setattr(type(files), "pipe_file", noted)
    share(here, f"memory://{tmp_path.name}/order")
    assert sorted(written[:-2]) == sorted(FILES) and written[-2:] == ["manifest.json", "champion.json"]
    written.clear()
    share(here, f"memory://{tmp_path.name}/order")
    assert written == ["champion.json"]


DAMAGES: dict[str, tuple[Callable[[Any, str], None], str]] = {
    "half": (lambda files, bundle: files.rm(f"{bundle}/manifest.json"), "there is no model bundle"),
    "gone": (lambda files, bundle: files.rm(bundle, recursive=True), "there is no model bundle"),
    "missing": (lambda files, bundle: files.rm(f"{bundle}/encoder.json"), "files encoder.json"),
    "flipped": (
        lambda files, bundle: files.pipe_file(f"{bundle}/model.safetensors", b"secomd"),
        "files model.safetens",
    ),
    "added": (lambda files, bundle: files.pipe_file(f"{bundle}/more.pkl", b""), "files more.pkl"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_refused_with_the_reason_and_the_champion_stays(
    here: Path, there: Path, url: str, damage: str
):
    first = share(here, url)
    pull_alias(there, url, CHAMPION)
    second = share(here, url, OTHER)
    harm, reason = DAMAGES[damage]
    files, root = store(url)
    harm(files, f"{root}/{second}")
    with pytest.raises(ArtefactError, match=rf"a bundle of the shared registry is refused: {second} at .*{reason}"):
        pull_alias(there, url, CHAMPION)
    assert read_alias(there, CHAMPION) == first
    assert sorted(path.name for path in there.iterdir()) == sorted([first, "champion.json"])
    if damage != "added":
        push_bundle(here, url, second)
        pull_alias(there, url, CHAMPION)
        assert read_alias(there, CHAMPION) == second


@pytest.mark.parametrize("pointer", [b"", b'{"model_ver', b"[]", b'{"model_version": "../outside"}'])
def test_an_alias_that_cannot_be_read_is_refused(here: Path, there: Path, url: str, pointer: bytes):
    first = share(here, url)
    pull_alias(there, url, CHAMPION)
    files, root = store(url)
    files.pipe_file(f"{root}/champion.json", pointer)
    with pytest.raises(ArtefactError, match="an alias of the shared registry cannot be read"):
        pull_alias(there, url, CHAMPION)
    assert read_alias(there, CHAMPION) == first


def test_a_store_that_is_unknown_or_cannot_be_reached_is_said(
    here: Path, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ConfigError, match=r"registry\.url names a store that cannot be used: nowhere://x"):
        pull_alias(there, "nowhere://x", CHAMPION)
    url = f"memory://{tmp_path.name}/away"
    share(here, url)

    def refuse(*given: Any, **more: Any) -> bytes:
        raise PermissionError("not for you")

    monkeypatch.setattr(type(store(url)[0]), "cat_file", refuse)
    with pytest.raises(ArtefactError, match=r"the shared registry cannot be reached: .*PermissionError: not for you"):
        pull_alias(there, url, CHAMPION)


def test_without_a_url_nothing_leaves_the_folder(here: Path):
    version = publish(here, FILES)
    push_bundle(here, None, version)
    push_alias(here, None, CHAMPION)
    pull_bundle(here, None, "m0")
    pull_alias(here, None, CHAMPION)
    assert [path.name for path in here.iterdir()] == [version]


def test_a_shop_scores_with_the_champion_of_the_url(here: Path, tmp_path: Path, url: str):
    yaml = write_small_shop(tmp_path)
    shop = Shop(load_config(yaml, [f"output_dir={tmp_path}/out", f"registry.url={url}"], {}))
    alone = Shop(load_config(yaml, [f"output_dir={tmp_path}/out"], {}))
    version = share(here, url, {**FILES, "levels.json": shop.config.levels.model_dump_json().encode()})
    with pytest.raises(ArtefactError, match="there is no champion to score with"):
        load_champion(alone)
    assert load_champion(shop).version == version
    assert json.loads((registry_dir(shop) / "champion.json").read_text())["decision"] == {"passed": True}
    assert shop.fingerprint == alone.fingerprint


@pytest.mark.parametrize("key", ["url", "mlflow_uri"])
def test_a_password_in_a_url_is_refused_and_not_told(tmp_path: Path, key: str):
    config = write_small_shop(tmp_path)
    load_config(config, [f"registry.{key}=abfs://container@account.example/models"])
    with pytest.raises(ConfigError, match=rf"registry\.{key}: .*a URL without a password") as told:
        load_config(config, [f"registry.{key}=https://reader:s3cr3t@store.example/models"])
    assert "s3cr3t" not in str(told.value)
