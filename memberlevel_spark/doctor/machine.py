"""What the project needs of the machine: Python, Java, packages, Delta's jars, a key, a folder to write to.

In: the configuration. Out: one finding per need. Nothing of Spark is imported: it may be what is missing.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from memberlevel_spark.config import Config
from memberlevel_spark.config.ingest import MIN_KEY_BYTES, PseudonymConfig
from memberlevel_spark.doctor.finding import Finding, broken, guarded, ok, warning

PYTHON, JAVA = (3, 11), 17
JARS = ("delta-spark_", "delta-storage-")
SET_UP = "Run `make setup`."
GET_JAVA = "Install one (Debian, Ubuntu: apt-get install openjdk-17-jre-headless), or set JAVA_HOME to one."
TIMEOUT_SECONDS = 60
LEAST_FREE_GB = 2


def machine_findings(config: Config) -> list[Finding]:
    """Every need, in the order in which a job would stumble over it."""
    return [
        guarded("python", _python),
        guarded("java", _java),
        guarded("packages", _packages),
        guarded("delta jars", partial(_jars, config)),
        guarded("pseudonym key", partial(_key, config.pseudonyms)),
        guarded("shop folder", partial(_folder, config.shop_dir)),
    ]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    needed = ".".join(map(str, PYTHON))
    if sys.version_info[:2] < PYTHON:
        return broken(f"python {found}: {needed} is needed", f"Install Python {needed}. {SET_UP}")
    if sys.version_info[:2] > PYTHON:
        return warning(f"python {found}: the project is tested on {needed}", "Use that where something fails.")
    return ok(f"python {found}")


def _java() -> Finding:
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if program is None or not os.access(program, os.X_OK):
        return broken(f"java: none found ({program or 'not on the path'})", GET_JAVA)
    done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    told = re.search(r'version "(?:1\.)?(\d+)([^"]*)"', done.stderr + done.stdout)
    if told is None:
        return broken(f"java: {program} does not tell its version", GET_JAVA)
    if int(told[1]) < JAVA:
        return broken(f"java {told[1]}{told[2]}: {JAVA} or newer is needed", GET_JAVA)
    return ok(f"java {told[1]}{told[2]}")


def _packages() -> Finding:
    """Those that the project declares, extras left out."""
    try:
        declared = [Requirement(text) for text in requires("memberlevel_spark") or ()]
    except PackageNotFoundError:
        return warning("packages: the project is not installed, so what it needs is not known", SET_UP)
    needed = [each for each in declared if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong = [f"{each.name} {_installed(each.name)} (needed {each.specifier})" for each in needed if not _fits(each)]
    if wrong:
        return broken(f"packages: {', '.join(wrong)}", SET_UP)
    return ok(f"packages: {len(needed)}, pyspark {_installed('pyspark')}, delta-spark {_installed('delta-spark')}")


def _fits(needed: Requirement) -> bool:
    found = _installed(needed.name)
    return found != "missing" and needed.specifier.contains(found, prereleases=True)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _jars(config: Config) -> Finding:
    """Delta's jars beside Spark's own, one of each, in the version of the Python package."""
    if any(key in config.spark.conf for key in ("spark.jars", "spark.jars.packages")):
        return ok("delta jars: left to spark.jars of the configuration")
    folder, wanted = _jar_folder(), _installed("delta-spark")
    found = {start: sorted(path.name for path in folder.glob(f"{start}*.jar")) for start in JARS}
    lacking = [start for start, names in found.items() if not names]
    if lacking:
        repair = f"{SET_UP} On a cluster pass --packages or --jars to spark-submit, and this does not matter."
        return broken(f"delta jars: {', '.join(lacking)}*.jar missing in {folder}", repair)
    several = [name for names in found.values() if len(names) > 1 for name in names]
    if several:
        return broken(f"delta jars: several versions in {folder}: {', '.join(several)}", "Remove all but one.")
    names = [name for own in found.values() for name in own]
    others = [name for name in names if not name.endswith(f"-{wanted}.jar")]
    if others:
        return broken(f"delta jars: {', '.join(others)} beside the Python package {wanted}", SET_UP)
    return ok(f"delta jars: {wanted}")


def _jar_folder() -> Path:
    home = os.environ.get("SPARK_HOME")
    if home:
        return Path(home) / "jars"
    spec = find_spec("pyspark")
    return Path(spec.origin).parent / "jars" if spec and spec.origin else Path("pyspark/jars")


def _key(pseudonyms: PseudonymConfig) -> Finding:
    """Whether there is a key that is long enough; not a byte of it is told."""
    if pseudonyms.method == "off":
        return ok("pseudonym key: none needed, member ids are said to be public")
    if pseudonyms.key_file is not None:
        source, key = str(pseudonyms.key_file), b""
        if pseudonyms.key_file.is_file():
            key = pseudonyms.key_file.read_bytes().strip()
    else:
        source = "MEMBERLEVEL__PSEUDONYMS__KEY"
        key = pseudonyms.key.get_secret_value().encode() if pseudonyms.key else b""
    repair = "Set MEMBERLEVEL__PSEUDONYMS__KEY, or mount pseudonyms.key_file; only silver and explain need it."
    if not key:
        return broken(f"pseudonym key: there is none ({source})", repair)
    if len(key) < MIN_KEY_BYTES:
        return broken(f"pseudonym key: {len(key)} bytes, at least {MIN_KEY_BYTES} are needed ({source})", repair)
    return ok(f"pseudonym key: present, named {pseudonyms.key_id} ({source})")


def _folder(shop_dir: Path) -> Finding:
    """Whether files can be made and removed where the shop lives, or where its folder would be made."""
    place = next(path for path in (shop_dir.absolute(), *shop_dir.absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-"):
            pass
    except OSError as problem:
        repair = "Give the jobs' user the right to write there, or set output_dir to another folder."
        return broken(f"shop folder: {place} cannot be written to ({problem.strerror})", repair)
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb < LEAST_FREE_GB:
        return warning(f"shop folder: {place} has {free_gb:.1f} GB left", "Free some space.")
    return ok(f"shop folder: {place}, {free_gb:,.0f} GB free")
