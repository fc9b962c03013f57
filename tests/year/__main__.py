"""``make simulate-year``: live the year, compare it with an undisturbed one; exit code 1 where it went wrong."""

import argparse
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path

from memberlevel_spark.cli import run_job
from memberlevel_spark.session import get_session
from tests.year.calendar import CONFIG, Year, year_of
from tests.year.live import live, live_undisturbed
from tests.year.result import verdict
from tests.year.shop import YearShop

DISTURBED, UNDISTURBED = "disturbed", "undisturbed"


def main() -> int:
    """Both years side by side, each in a process and a Spark of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.year", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out") / "year", help="folder for both shops (out/year)")
    parser.add_argument("--weeks", type=int, default=6, help="weeks at the end of the year that are lived by day (6)")
    parser.add_argument("--part", choices=(DISTURBED, UNDISTURBED), help=argparse.SUPPRESS)
    given = parser.parse_args()
    year, out = year_of(given.weeks), given.out
    shops = {name: YearShop(year, out / "world" / "raw", out, name) for name in (DISTURBED, UNDISTURBED)}
    if given.part:
        return _part(shops[given.part], given.part)
    started = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    _make_world(year, out)
    other = _start(out, given.weeks)
    try:
        code = _part(shops[DISTURBED], DISTURBED)
        code = code or other.wait()
    finally:
        other.kill()
    if code:
        return code
    page, good = verdict(get_session(year.config), shops[DISTURBED], shops[UNDISTURBED])
    print(f"{page}\n\n{(time.monotonic() - started) / 60:.1f} minutes; log in {out}/{DISTURBED}.log", flush=True)
    return 0 if good else 1


def _make_world(year: Year, out: Path) -> None:
    if run_job("world", ["--config", str(CONFIG), "--set", "name=world", "--set", f"output_dir={out}"]):
        raise SystemExit("the world could not be made")


def _start(out: Path, weeks: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.year", "--out", str(out), "--weeks", str(weeks), "--part", UNDISTURBED]
    with (out / f"{UNDISTURBED}.txt").open("wb") as told:
        return subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT)


def _part(shop: YearShop, name: str) -> int:
    """One of the two years; what the jobs log goes to a file."""
    logger = logging.getLogger("memberlevel_spark")
    logger.addHandler(logging.FileHandler(shop.out / f"{name}.log"))
    logger.propagate = False
    try:
        (live if name == DISTURBED else live_undisturbed)(shop, lambda line: print(line, flush=True))
    except RuntimeError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
