"""``make simulate-year``: live the year, compare it with an undisturbed one; exit code 1 where it went wrong."""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memberlevel_spark.cli import run_job
from memberlevel_spark.session import get_session
from tests.year.calendar import CONFIG, Year, year_of
from tests.year.live import live, live_undisturbed
from tests.year.result import verdict
from tests.year.shop import YearShop

DISTURBED, UNDISTURBED = "disturbed", "undisturbed"


def main() -> int:
    """Both years one after the other: the second finds the JVM warm."""
    parser = argparse.ArgumentParser(prog="python -m tests.year", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out") / "year", help="folder for both shops (out/year)")
    parser.add_argument("--weeks", type=int, default=6, help="weeks at the end of the year that are lived by day (6)")
    given = parser.parse_args()
    year, out = year_of(given.weeks), given.out
    shops = {name: YearShop(year, out / "world" / "raw", out, name) for name in (DISTURBED, UNDISTURBED)}
    started = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    _make_world(year, out)
    try:
        for name, lived in ((DISTURBED, live), (UNDISTURBED, live_undisturbed)):
            with _log_file(out / f"{name}.log"):
                lived(shops[name], lambda line: print(line, flush=True))
    except RuntimeError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    page, good = verdict(get_session(year.config), shops[DISTURBED], shops[UNDISTURBED])
    print(f"{page}\n\n{(time.monotonic() - started) / 60:.1f} minutes; log in {out}/{DISTURBED}.log", flush=True)
    return 0 if good else 1


def _make_world(year: Year, out: Path) -> None:
    if run_job("world", ["--config", str(CONFIG), "--set", "name=world", "--set", f"output_dir={out}"]):
        raise SystemExit("the world could not be made")


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """What the jobs log goes to a file instead of the terminal."""
    logger, handler = logging.getLogger("memberlevel_spark"), logging.FileHandler(path)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


if __name__ == "__main__":
    sys.exit(main())
