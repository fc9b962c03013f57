"""The set-up says in one line what is missing, heals what was cut short, and does nothing when all is there."""

import hashlib
import importlib.util
import io
import re
import runpy
from collections import defaultdict, namedtuple
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
PINS = (REPOSITORY / "requirements.lock").read_text()
JAR = "delta-storage-4.4.0.jar"
LOCK = """\
types-uv==1.0 \\
    --hash=sha256:00
uv==9.8.7 ; python_version >= '3.11' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via memberlevel-spark (setup.py)
wheel==1.0 \\
    --hash=sha256:cc
"""


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """.ci/bootstrap.py, loaded anew for each test, without proxies."""
    spec = importlib.util.spec_from_file_location("bootstrap", REPOSITORY / ".ci" / "bootstrap.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("MEMBERLEVEL_MAVEN_URL", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return module


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a lock and a setup.py, beside a machine whose only Java is a 17."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "requirements.lock").write_text(LOCK)
    (checkout / "setup.py").write_text("setup()")
    monkeypatch.setenv("JAVA_HOME", str(java_home(tmp_path, 'openjdk version "17.0.15" 2025-04-15')))
    return checkout


def script(path: Path, *, says: str, code: int = 0) -> Path:
    """A program that says something on stderr and ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}\nEND\nexit {code}\n")
    path.chmod(0o755)
    return path


def java_home(folder: Path, says: str, code: int = 0) -> Path:
    """A JAVA_HOME whose java says something."""
    home = folder / f"java-{hashlib.sha256(says.encode()).hexdigest()[:8]}"
    script(home / "bin" / "java", says=says, code=code)
    return home


def failure(bootstrap: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the whole set-up, which must end with 2 and exactly one line on stderr; give that line."""
    assert bootstrap.main(root) == 2
    error = capsys.readouterr().err
    assert error.startswith("set-up failed: ")
    assert error.endswith("\n") and error.count("\n") == 1, f"not one line: {error!r}"
    return error.strip()


def use_steps(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, *steps: Callable) -> list[str]:
    """Replace the installing by these steps, or by one that leaves what a whole .venv has; give the record of it."""
    ran: list[str] = []

    def create(place) -> None:
        ran.append("create")
        place.python.parent.mkdir(parents=True, exist_ok=True)
        place.unfinished.touch()
        place.python.write_text("")

    def fill(place) -> None:
        ran.append("fill")
        place.spark_jars.mkdir(parents=True, exist_ok=True)
        for jar in bootstrap.JARS:
            (place.spark_jars / jar.name).write_text("")

    monkeypatch.setattr(bootstrap, "create_venv", create)
    monkeypatch.setattr(bootstrap, "is_sound", lambda place: place.python.exists() and not place.unfinished.exists())
    monkeypatch.setattr(bootstrap, "STEPS", steps or (fill,))
    return ran


def test_without_java_it_names_the_command_that_installs_one(bootstrap, root, monkeypatch, capsys):
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(root))
    line = failure(bootstrap, root, capsys)
    assert "no Java: `java` is not on PATH and JAVA_HOME is not set" in line
    assert "openjdk-17" in line
    assert not (root / ".venv").exists()


def test_a_java_home_without_java_is_named(bootstrap, root, monkeypatch, capsys):
    monkeypatch.setenv("JAVA_HOME", str(root / "nowhere"))
    assert f"JAVA_HOME is {root / 'nowhere'}, without bin/java" in failure(bootstrap, root, capsys)


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_402", "16", "9-ea"])
def test_a_java_older_than_17_is_refused(bootstrap, root, tmp_path, monkeypatch, capsys, version):
    monkeypatch.setenv("JAVA_HOME", str(java_home(tmp_path, f'java version "{version}" 2019-01-15')))
    line = failure(bootstrap, root, capsys)
    assert re.search(rf"Java 17 or newer is needed: \S+/bin/java is {re.escape(version)}\.", line)


def test_a_java_that_does_not_run_is_quoted(bootstrap, root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAVA_HOME", str(java_home(tmp_path, "Unable to locate a Java Runtime.", 1)))
    line = failure(bootstrap, root, capsys)
    assert "Java does not start" in line and "'Unable to locate a Java Runtime.'" in line


@pytest.mark.parametrize("version", ["17.0.15", "17-ea", "21", "21.0.3", "25.0.1"])
def test_java_17_and_newer_pass(bootstrap, tmp_path, monkeypatch, version):
    says = f'Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "{version}" 2025-04-15'
    monkeypatch.setenv("JAVA_HOME", str(java_home(tmp_path, says)))
    assert bootstrap.check_java() == version


def test_java_home_wins_over_path_as_it_does_for_spark(bootstrap, tmp_path, monkeypatch):
    script(tmp_path / "bin" / "java", says='openjdk version "11.0.2"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv("JAVA_HOME", str(java_home(tmp_path, 'openjdk version "21"')))
    assert bootstrap.check_java() == "21"


@pytest.mark.parametrize("found", [(3, 10, 13), (3, 12, 1), (4, 11, 0)])
def test_another_python_is_refused(bootstrap, root, monkeypatch, capsys, found):
    monkeypatch.setattr(bootstrap.check_python, "__defaults__", (found,))
    line = failure(bootstrap, root, capsys)
    assert f"Python 3.11 is needed: this is {'.'.join(map(str, found))}" in line
    assert "make setup PYTHON=" in line


def test_a_full_disk_is_refused_before_anything_is_installed(bootstrap, root, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: usage(10e9, 8.5e9, 1.5e9))
    line = failure(bootstrap, root, capsys)
    assert f"not enough disk space in {root}: 1.5 GB free, 8 GB needed" in line
    assert not (root / ".venv" / "bin").exists()


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (
            "error: Failed to fetch: `https://index/six/`\n  Caused by: Connection refused (os error 111)",
            "failed, no network? Last words: Caused by: Connection refused (os error 111)",
        ),
        ("ERROR: No match (from versions: none)", "failed, no network? Last words: ERROR: No match"),
        (
            "  × Failed to download `six`\n  ╰─▶ Hash mismatch for `six`\n\n  Expected:\n    sha256:0",
            "installing packages failed, checksum mismatch: Hash mismatch for `six`",
        ),
        ("error: failed to write\n  Caused by: No space left on device (os error 28)", "not enough disk space in"),
        ("error: something new", "installing packages failed: error: something new. Mend that"),
    ],
    ids=["uv without network", "pip without network", "hash", "disk", "anything else"],
)
def test_a_failing_installer_is_put_in_one_line(bootstrap, root, monkeypatch, capsys, says, expected):
    ran = use_steps(bootstrap, monkeypatch, bootstrap.install_packages)
    script(root / ".venv" / "bin" / "uv", says=says, code=2)
    assert expected in failure(bootstrap, root, capsys)
    assert ran == ["create"]
    assert not (root / ".venv" / ".memberlevel-setup").exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "http://127.0.0.1:9/maven2/",
            "download failed, no network? http://127.0.0.1:9/maven2/io/delta/delta-spark_4.2",
        ),
        ("nonsense", "not a URL: nonsense/io/delta/delta-spark_4.2"),
    ],
)
def test_a_jar_that_cannot_be_had_is_said_with_its_address(bootstrap, root, monkeypatch, capsys, url, expected):
    use_steps(bootstrap, monkeypatch, bootstrap.install_jars)
    monkeypatch.setenv("MEMBERLEVEL_MAVEN_URL", url)
    line = failure(bootstrap, root, capsys)
    assert expected in line and "MEMBERLEVEL_MAVEN_URL" in line


def test_a_jar_that_a_server_does_not_have_is_said_with_its_answer(bootstrap, root, monkeypatch, capsys):
    def refuse(url: str, timeout: float) -> None:
        raise bootstrap.urllib.error.HTTPError(url, 404, "Not Found", None, io.BytesIO())

    use_steps(bootstrap, monkeypatch, bootstrap.install_jars)
    monkeypatch.setattr(bootstrap.urllib.request, "urlopen", refuse)
    assert re.search(r"download refused: https://\S+\.jar answered 404\. Check", failure(bootstrap, root, capsys))


def maven(folder: Path, content: bytes) -> str:
    """A Maven repository on disk, holding something under the storage jar's name; gives its URL."""
    jar = folder / "io" / "delta" / "delta-storage" / "4.4.0" / JAR
    jar.parent.mkdir(parents=True)
    jar.write_bytes(content)
    return folder.as_uri()


def cached_jar(root: Path, content: bytes) -> Path:
    """Something under the storage jar's name in the checkout's cache."""
    kept = root / ".cache" / "jars" / JAR
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    return kept


def use_one_jar(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Make the pinned jars one whose right content is known here."""
    monkeypatch.setattr(bootstrap, "JARS", (bootstrap.Jar("delta-storage", hashlib.sha256(content).hexdigest()),))
    use_steps(bootstrap, monkeypatch)
    fill = bootstrap.STEPS[0]
    monkeypatch.setattr(bootstrap, "STEPS", (fill, bootstrap.install_jars))


def test_another_file_under_the_jars_name_is_refused_and_not_kept(bootstrap, root, tmp_path, monkeypatch, capsys):
    use_one_jar(bootstrap, monkeypatch, b"right")
    monkeypatch.setenv("MEMBERLEVEL_MAVEN_URL", maven(tmp_path / "maven", b"wrong"))
    line = failure(bootstrap, root, capsys)
    right, wrong = (hashlib.sha256(content).hexdigest()[:12] for content in (b"right", b"wrong"))
    assert re.search(rf"checksum mismatch: file:\S+{re.escape(JAR)}: expected {right}\.\.\., found {wrong}", line)
    assert not (root / ".cache" / "jars" / JAR).exists()


def test_a_download_that_failed_does_not_cost_the_environment(bootstrap, root, tmp_path, monkeypatch, capsys):
    use_one_jar(bootstrap, monkeypatch, b"right")
    monkeypatch.setenv("MEMBERLEVEL_MAVEN_URL", maven(tmp_path / "bad", b"wrong"))
    failure(bootstrap, root, capsys)
    monkeypatch.setenv("MEMBERLEVEL_MAVEN_URL", maven(tmp_path / "good", b"right"))
    monkeypatch.setattr(bootstrap, "create_venv", lambda place: pytest.fail(".venv was made anew"))
    assert bootstrap.main(root) == 0


def test_the_jar_lands_in_pyspark_and_an_older_one_leaves(bootstrap, root, tmp_path, monkeypatch):
    use_one_jar(bootstrap, monkeypatch, b"right")
    monkeypatch.setenv("MEMBERLEVEL_MAVEN_URL", maven(tmp_path / "maven", b"right"))
    place = bootstrap.Place(root)
    place.spark_jars.mkdir(parents=True)
    (place.spark_jars / "delta-storage-4.3.0.jar").write_bytes(b"old")
    (place.spark_jars / "hadoop-client.jar").write_bytes(b"pyspark's own")
    assert bootstrap.main(root) == 0
    assert sorted(path.name for path in place.spark_jars.iterdir()) == [JAR, "hadoop-client.jar"]
    assert (place.spark_jars / JAR).read_bytes() == b"right"


def test_a_damaged_jar_in_the_cache_is_fetched_again(bootstrap, root, tmp_path, monkeypatch):
    use_one_jar(bootstrap, monkeypatch, b"right")
    kept = cached_jar(root, b"righ")
    monkeypatch.setenv("MEMBERLEVEL_MAVEN_URL", maven(tmp_path / "maven", b"right"))
    bootstrap.fetch_jar(bootstrap.Place(root), bootstrap.JARS[0])
    assert kept.read_bytes() == b"right"


def test_a_jar_in_the_cache_needs_no_network(bootstrap, root, monkeypatch):
    use_one_jar(bootstrap, monkeypatch, b"right")
    kept = cached_jar(root, b"right")
    monkeypatch.setattr(bootstrap, "download", lambda url, target: pytest.fail(f"asked {url}"))
    assert bootstrap.fetch_jar(bootstrap.Place(root), bootstrap.JARS[0]) == kept


def test_a_checkout_without_the_lock_ends_with_one_line(bootstrap, root, monkeypatch, capsys):
    use_steps(bootstrap, monkeypatch)
    (root / "requirements.lock").unlink()
    assert f"No such file or directory: {root / 'requirements.lock'}" in failure(bootstrap, root, capsys)


def test_a_lock_without_uv_is_refused(bootstrap, root, monkeypatch, capsys):
    use_steps(bootstrap, monkeypatch, bootstrap.install_uv)
    (root / "requirements.lock").write_text("six==1.17.0\n")
    assert "requirements.lock has no uv. Restore the file" in failure(bootstrap, root, capsys)


def test_ctrl_c_ends_with_130_and_one_line(bootstrap, root, monkeypatch, capsys):
    def interrupt(place) -> None:
        raise KeyboardInterrupt

    use_steps(bootstrap, monkeypatch, interrupt)
    assert bootstrap.main(root) == 130
    assert capsys.readouterr().err == "set-up failed: interrupted. Run it again to go on.\n"


def test_the_second_run_does_nothing(bootstrap, root, monkeypatch, capsys):
    ran = use_steps(bootstrap, monkeypatch)
    assert bootstrap.main(root) == 0
    assert ran == ["create", "fill"]
    capsys.readouterr()
    monkeypatch.setattr(bootstrap, "run_tool", lambda *args: pytest.fail(f"ran {args}"))
    monkeypatch.setattr(bootstrap, "download", lambda *args: pytest.fail(f"asked {args}"))
    assert bootstrap.main(root) == 0
    assert ran == ["create", "fill"]
    said = capsys.readouterr().out
    assert said.startswith("set-up: nothing to do (") and said.count("\n") == 1


@pytest.mark.parametrize("changed", ["requirements.lock", "setup.py", "jar pin", "jar"])
def test_what_changed_runs_the_steps_again_in_the_same_environment(bootstrap, root, monkeypatch, changed):
    ran = use_steps(bootstrap, monkeypatch)
    bootstrap.main(root)
    if changed == "jar pin":
        monkeypatch.setattr(bootstrap, "JARS", (*bootstrap.JARS[:1], bootstrap.Jar("delta-storage", "0" * 64)))
    elif changed == "jar":
        (bootstrap.Place(root).spark_jars / JAR).unlink()
    else:
        (root / changed).write_text("changed")
    assert bootstrap.main(root) == 0
    assert ran == ["create", "fill", "fill"]


def test_an_installation_cut_short_is_made_anew_even_when_the_lock_is_the_old_one_again(bootstrap, root, monkeypatch):
    def cut_short(place) -> None:
        raise SystemExit("killed")

    ran = use_steps(bootstrap, monkeypatch)
    bootstrap.main(root)
    (root / "requirements.lock").write_text("changed")
    whole = bootstrap.STEPS
    monkeypatch.setattr(bootstrap, "STEPS", (cut_short,))
    with pytest.raises(SystemExit):
        bootstrap.main(root)
    monkeypatch.setattr(bootstrap, "STEPS", whole)
    (root / "requirements.lock").write_text(LOCK)
    assert bootstrap.main(root) == 0
    assert ran == ["create", "fill", "create", "fill"]
    assert not bootstrap.Place(root).unfinished.exists()


@pytest.mark.parametrize(
    ("made_at", "python", "cut_short", "expected"),
    [
        ("", "3.11", False, True),
        ("/elsewhere", "3.11", False, False),
        ("", "3.12", False, False),
        ("", "3.11", True, False),
    ],
    ids=["made here", "moved", "other python", "cut short"],
)
def test_which_environment_can_be_built_on(bootstrap, root, made_at, python, cut_short, expected):
    place = bootstrap.Place(root)
    place.python.parent.mkdir(parents=True)
    place.python.write_text(f"#!/bin/sh\necho 'pip 25.0 from somewhere (python {python})'\n")
    place.python.chmod(0o755)
    (place.venv / "pyvenv.cfg").write_text(f"command = python3.11 -m venv {made_at}{place.venv}\n")
    if cut_short:
        place.unfinished.touch()
    assert bootstrap.is_sound(place) is expected


def test_emptying_leaves_only_the_mark_and_does_not_follow_links(bootstrap, root, tmp_path):
    place = bootstrap.Place(root)
    (place.venv / "lib" / "deep").mkdir(parents=True)
    (place.venv / "pyvenv.cfg").write_text("")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("")
    (place.venv / "link").symlink_to(tmp_path / "outside")
    bootstrap.empty_venv(place)
    assert list(place.venv.iterdir()) == [place.unfinished]
    assert (tmp_path / "outside" / "kept").exists()


def test_uv_comes_in_the_version_and_with_the_hashes_of_the_lock(bootstrap, root):
    asked = bootstrap.locked(bootstrap.Place(root), "uv")
    assert asked.splitlines()[:3] == LOCK.splitlines()[2:5]
    assert "types-uv" not in asked and "wheel" not in asked


def test_the_lock_holds_a_fitting_version_of_everything_setup_py_asks_for(monkeypatch):
    said: dict = {}
    monkeypatch.setattr("setuptools.setup", said.update)
    runpy.run_path(str(REPOSITORY / "setup.py"))
    asked = [Requirement(text) for text in sum(said["extras_require"].values(), said["install_requires"])]
    locked: dict[str, list[str]] = defaultdict(list)  # several versions where they differ by platform
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", PINS, re.MULTILINE):
        locked[name].append(version)
    fits = {want: list(map(want.specifier.contains, locked[canonicalize_name(want.name)])) for want in asked}
    misfits = [str(want) for want, each in fits.items() if not each or not all(each)]
    assert len(asked) > 20 and misfits == []


def test_every_locked_version_has_a_hash():
    blocks = re.split(r"^(?=\S+==)", PINS, flags=re.MULTILINE)[1:]
    assert len(blocks) > 50
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
