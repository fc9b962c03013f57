"""Sets the project up in .venv, in steps, and says in one line what is missing when it cannot.

In:  requirements.lock (exact versions with hashes), setup.py, a Python 3.11, a Java 17 or newer, the network.
Out: .venv with the locked packages, this project (editable) and the two Delta jars in pyspark/jars, where every session
     and every spark-submit of that environment finds them; the jars are kept in .cache/jars as well.

A stamp in .venv makes a second run do nothing, without network. A mark in .venv says that an installation was cut
short: the next run then makes .venv anew. Standard library only, so that any Python can start it and be told what it
lacks. Packages come from the index pip and uv are configured for, jars from MEMBERLEVEL_MAVEN_URL or Maven Central.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (3, 11)
JAVA = 17
DELTA = "4.4.0"
DISK_GB = 8
TIMEOUT_SECONDS = 60
MAVEN_URL = "https://repo1.maven.org/maven2"

GET_PYTHON = (
    "Install Python 3.11 (Debian, Ubuntu: apt-get install python3.11 python3.11-venv; macOS: brew install python@3.11) "
    "or name yours: make setup PYTHON=/path/to/python3.11"
)
GET_JAVA = (
    "Install one (Debian, Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17) "
    "or set JAVA_HOME to one"
)
OTHER_FILES = "Run it again; if that stays so, a proxy, cache or mirror serves other files than the pinned ones."
NETWORK_SIGNS = re.compile(
    r"Failed to fetch|error sending request|dns error|client error \(Connect\)|[Cc]onnection (refused|reset)|timed out"
    r"|name resolution|NewConnectionError|ProxyError|ReadTimeout|Max retries|unreachable|connectivity is disabled"
    r"|from versions: none"
)
MISMATCH_SIGNS = re.compile(r".*(Hash mismatch|DO NOT MATCH THE HASHES).*")
SPACE_SIGNS = re.compile(r"No space left on device|os error 28\b|Disk quota exceeded")


class Jar(NamedTuple):
    """A Delta jar, and what it must hold."""

    artifact: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.artifact}-{DELTA}.jar"


JARS = (
    Jar("delta-spark_4.2_2.13", "27d4fd8b1f879535c573ed1c718177d6a27f24d3e626ba02e216369725721ead"),
    Jar("delta-storage", "c46735481fa8e326b0957be02b4420cbcab4b325bb08009b7f2045a95133f1cc"),
)


class SetupError(Exception):
    """Something the user can mend; the message is one line that says what is wrong and what to do."""


class DownloadError(SetupError):
    """A download failed; nothing in .venv was touched, so it may stay."""


class Place:
    """Where things lie in one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "requirements.lock"
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.packages = self.venv / "lib" / f"python{PYTHON[0]}.{PYTHON[1]}" / "site-packages"
        self.spark_jars = self.packages / "pyspark" / "jars"
        self.stamp = self.venv / ".memberlevel-setup"  # says of what .venv was made
        self.unfinished = self.venv / ".memberlevel-unfinished"  # an installation runs, or was cut short
        self.cache = root / ".cache"  # what outlives .venv


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"set-up: {text}", flush=True)


def check_python(found: tuple[int, ...] = tuple(sys.version_info[:3])) -> str:
    """Refuse any Python but 3.11; give its version."""
    version = ".".join(map(str, found))
    if found[:2] != PYTHON:
        raise SetupError(f"Python 3.11 is needed: this is {version} ({sys.executable}). {GET_PYTHON}.")
    return version


def find_java() -> str:
    """Find java as Spark does: JAVA_HOME first, then PATH."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if java is None:
        found = f"JAVA_HOME is {home}, without bin/java" if home else "`java` is not on PATH and JAVA_HOME is not set"
        raise SetupError(f"no Java: {found}. {GET_JAVA}.")
    return java


def read_java_version(java: str) -> tuple[str, int]:
    """Ask java for its version: 17.0.15 and 17, or 1.8.0_402 and 1."""
    try:
        asked = subprocess.run([java, "-version"], capture_output=True, text=True, errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"Java does not start: {java} ({type(error).__name__}). {GET_JAVA}.") from error
    said = asked.stderr + asked.stdout
    found = re.search(r'version "((\d+)[^"]*)"', said)
    if asked.returncode or found is None:
        raise SetupError(f"Java does not start: {java} said {last_line(said)!r}. {GET_JAVA}.")
    return found.group(1), int(found.group(2))


def check_java() -> str:
    """Refuse a Java older than Spark 4 needs; give its version."""
    java = find_java()
    version, major = read_java_version(java)
    if major < JAVA:
        raise SetupError(f"Java {JAVA} or newer is needed: {java} is {version}. {GET_JAVA}.")
    return version


def check_disk(place: Place) -> None:
    """Refuse to start an installation that cannot fit."""
    free_gb = shutil.disk_usage(place.venv).free / 1e9
    if free_gb < DISK_GB:
        raise SetupError(no_space(place, f"{free_gb:.1f} GB free, {DISK_GB} GB needed"))
    say(f"{free_gb:.0f} GB of disk are free")


def last_line(text: str) -> str:
    """Give the last line that says something, without the marks tools draw in front of it."""
    lines = [line.strip(" \t│├╰─▶×") for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "nothing")


def no_space(place: Place, detail: str) -> str:
    """Say that the disk is too full."""
    return f"not enough disk space in {place.root}: {detail}. Free some, or put the checkout on a larger disk."


def explain(what: str, said: str, place: Place) -> SetupError:
    """Turn a tool's failure into one line: disk full, no network, or the tool's own last words."""
    last = last_line(said)
    if SPACE_SIGNS.search(said):
        return SetupError(no_space(place, last))
    mismatch = MISMATCH_SIGNS.search(said)
    if mismatch:
        return DownloadError(f"{what} failed, checksum mismatch: {last_line(mismatch.group(0))}. {OTHER_FILES}")
    if NETWORK_SIGNS.search(said):
        return DownloadError(f"{what} failed, no network? Last words: {last}. Check network and proxy, run it again.")
    return SetupError(f"{what} failed: {last}. Mend that, then run it again; it starts .venv afresh.")


def show(line: str) -> None:
    """Show a tool's latest line in place, on a terminal only."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{line[:width]}", end="", flush=True)


def run_tool(what: str, command: list[str | Path], place: Place) -> None:
    """Run a tool to its end."""
    said: list[str] = []
    with subprocess.Popen(
        command, cwd=place.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as tool:
        for line in tool.stdout or ():
            said.append(line)
            show(line.strip())
    show("")
    if tool.returncode:
        raise explain(what, "".join(said), place)


def is_sound(place: Place) -> bool:
    """Tell whether .venv can be built on: made here, not moved, by this Python, and never cut short."""
    config = place.venv / "pyvenv.cfg"
    if place.unfinished.exists() or not config.is_file():
        return False
    if f" {place.venv}\n" not in config.read_text(encoding="utf-8"):
        return False  # a moved .venv: its scripts and the editable project point to the old place
    try:
        asked = subprocess.run([place.python, "-m", "pip", "--version"], capture_output=True, text=True)
    except OSError:
        return False
    return asked.returncode == 0 and f"(python {PYTHON[0]}.{PYTHON[1]})" in asked.stdout


def empty_venv(place: Place) -> None:
    """Leave nothing in .venv but the mark that it is unfinished."""
    place.venv.mkdir(exist_ok=True)
    place.unfinished.touch()
    old = [child for child in place.venv.iterdir() if child != place.unfinished]
    if old:
        say("emptying .venv: it was moved, cut short or made by something else")
    for child in old:
        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()


def create_venv(place: Place) -> None:
    """Make .venv with nothing but pip; not with .venv's own interpreter, which may just have been removed."""
    empty_venv(place)
    check_disk(place)
    say("creating .venv")
    python = getattr(sys, "_base_executable", None) or sys.executable
    try:
        run_tool("creating .venv", [python, "-m", "venv", place.venv], place)
    except SetupError as error:
        raise SetupError(f"{error} (Debian, Ubuntu: is python3.11-venv installed?)") from error


def locked(place: Place, package: str) -> str:
    """Give the lock's lines for one package, hashes included."""
    found = re.search(rf"^{package}==.*?(?=^\S|\Z)", place.lock.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if found is None:
        raise SetupError(f"requirements.lock has no {package}. Restore the file; its first lines say how to make it.")
    return found.group(0)


def install_uv(place: Place) -> None:
    """Install the installer, in the version and with the hashes of the lock."""
    requirement = locked(place, "uv")
    version = requirement.split()[0].partition("==")[2]
    if (place.packages / f"uv-{version}.dist-info" / "RECORD").is_file():
        return
    say(f"installing uv {version}")
    wanted = place.cache / "uv.txt"
    wanted.write_text(requirement, encoding="utf-8")
    options = ["--require-hashes", "--no-deps", "--retries", "1", "--disable-pip-version-check"]
    run_tool("installing uv", [place.python, "-m", "pip", "install", *options, "-r", wanted], place)


def run_uv(what: str, verb: str, arguments: str, place: Place) -> None:
    """Run `uv pip` on .venv."""
    uv = place.venv / "bin" / "uv"
    run_tool(what, [uv, "pip", verb, "--python", place.python, *arguments.split()], place)


def install_packages(place: Place) -> None:
    """Make .venv hold what the lock names, no more and no less.

    Compiled here, once: where PYTHONDONTWRITEBYTECODE is set, as in many containers, every Python process would compile
    what it imports again, 5 of the 8 seconds that torch takes to import.
    """
    say("installing the packages of requirements.lock (the first time several GB: minutes)")
    run_uv("installing packages", "sync", f"--compile-bytecode --require-hashes {place.lock.name}", place)


def install_project(place: Place) -> None:
    """Install this project so that its sources are used where they lie; setuptools is in the lock, so no network."""
    say("installing memberlevel_spark (editable)")
    run_uv("installing the project", "install", "--offline --no-deps --no-build-isolation --editable .", place)


def sha256(file: Path) -> str:
    """Digest of a file's content, or nothing when there is no such file."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def download(url: str, target: Path) -> None:
    """Fetch a file."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as out:
            shutil.copyfileobj(answer, out)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"download refused: {url} answered {error.code}. Check MEMBERLEVEL_MAVEN_URL.") from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        advice = "Check network, proxy and MEMBERLEVEL_MAVEN_URL, then run it again."
        raise DownloadError(f"download failed, no network? {url}: {error}. {advice}") from error
    except ValueError as error:
        raise DownloadError(f"not a URL: {url}. Correct MEMBERLEVEL_MAVEN_URL.") from error


def check_digest(file: Path, jar: Jar, url: str) -> None:
    """Refuse a download that is not the jar we know."""
    found = sha256(file)
    if found != jar.sha256:
        expected = f"expected {jar.sha256[:12]}..., found {found[:12]}..."
        raise DownloadError(f"download failed, checksum mismatch: {url}: {expected}. {OTHER_FILES}")


def fetch_jar(place: Place, jar: Jar) -> Path:
    """Give the jar in .cache/jars, downloading it when it is not there whole."""
    kept = place.cache / "jars" / jar.name
    if sha256(kept) == jar.sha256:
        return kept
    base = os.environ.get("MEMBERLEVEL_MAVEN_URL") or MAVEN_URL
    url = f"{base.rstrip('/')}/io/delta/{jar.artifact}/{DELTA}/{jar.name}"
    say(f"downloading {jar.name}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_name(f"{kept.name}.part")
    download(url, part)
    check_digest(part, jar, url)
    return part.replace(kept)


def install_jars(place: Place) -> None:
    """Put the jars beside pyspark's own, and no other version of them."""
    kept = [fetch_jar(place, jar) for jar in JARS]
    say(f"placing {len(kept)} Delta jars in pyspark/jars")
    for old in [*place.spark_jars.glob("delta-spark_*.jar"), *place.spark_jars.glob("delta-storage-*.jar")]:
        old.unlink()
    for jar in kept:
        part = place.spark_jars / f"{jar.name}.part"
        shutil.copyfile(jar, part)
        part.replace(place.spark_jars / jar.name)


STEPS: tuple[Callable[[Place], None], ...] = (install_uv, install_packages, install_project, install_jars)


def digest(place: Place) -> str:
    """Say in one word what .venv is made of; the path is in it because a moved .venv does not work."""
    parts = [place.lock.read_bytes(), (place.root / "setup.py").read_bytes(), repr((JARS, str(place.root))).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_done(place: Place) -> bool:
    """Tell whether .venv is whole and made of what the checkout asks for."""
    if place.unfinished.exists() or not place.python.exists() or not place.stamp.is_file():
        return False
    jars_are_there = all((place.spark_jars / jar.name).is_file() for jar in JARS)
    return jars_are_there and place.stamp.read_text(encoding="utf-8") == digest(place)


@contextmanager
def only_one(place: Place) -> Iterator[None]:
    """Let a second set-up of the same checkout wait for the first; a process that ends gives the lock back."""
    place.cache.mkdir(exist_ok=True)
    with (place.cache / "setup.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running: waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def install(place: Place) -> None:
    """Do all steps, leaving the mark behind when they are cut short."""
    if not is_sound(place):
        create_venv(place)
    place.unfinished.touch()
    try:
        for step in STEPS:
            step(place)
    except DownloadError:
        place.unfinished.unlink()
        raise
    place.stamp.write_text(digest(place), encoding="utf-8")
    place.unfinished.unlink()


def set_up(place: Place) -> None:
    """Check what must be there, and install what is not."""
    python, java = check_python(), check_java()
    if is_done(place):
        say(f"nothing to do (Python {python}, Java {java}, .venv is up to date)")
        return
    say(f"Python {python}, Java {java}")
    with only_one(place):
        if not is_done(place):
            install(place)
    say("done")


def main(root: Path = ROOT) -> int:
    """Set up; end with one line and 2 on a failure the user can mend."""
    try:
        set_up(Place(root))
    except SetupError as error:
        problem, code = str(error), 2
    except OSError as error:
        problem, code = f"{error.strerror or error}: {error.filename or root}. Mend that, then run it again.", 2
    except KeyboardInterrupt:
        problem, code = "interrupted. Run it again to go on.", 130
    else:
        return 0
    print(f"set-up failed: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
