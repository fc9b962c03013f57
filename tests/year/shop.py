"""One shop of the year: its files as they arrive, and its jobs, run as a scheduler would run them."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from memberlevel_spark.cli import run_job
from tests.year.calendar import CONFIG, Year

INGEST = ("bronze", "silver", "member_days", "levels")
RETRAIN = ("examples", "train", "evaluate", "register")
SOURCES = {"orders": ".csv", "refunds": ".csv", "profiles": ".jsonl"}


@dataclass(frozen=True)
class YearShop:
    """A shop of the year with its own folder; its files come from those of the world."""

    year: Year
    world: Path
    out: Path
    name: str

    @property
    def folder(self) -> Path:
        """Where the shop's files, tables and models are."""
        return self.out / self.name

    def deliver(self, source: str, days: Sequence[date], name: str, *, broken: int = 0) -> None:
        """The lines of one source on some days arrive as one file, with so many broken lines behind the good ones."""
        files = [self.world / source / f"{day}{SOURCES[source]}" for day in days]
        texts = [file.read_text(encoding="utf-8").splitlines(keepends=True) for file in files if file.is_file()]
        if not texts:
            return
        # Each file of a day has its own header, the one that arrives has one.
        header = texts[0][:1] if SOURCES[source] == ".csv" else []
        lines = [line for text in texts for line in text[len(header) :]]
        lines += [f"broken {name} {number},,nobody,yesterday,,,,,\n" for number in range(broken)]
        arrived = self.folder / "raw" / source / f"{name}{SOURCES[source]}"
        arrived.parent.mkdir(parents=True, exist_ok=True)
        # Complete under its name from the first moment on: a stream may be looking.
        arriving = arrived.with_name(f".{arrived.name}")
        arriving.write_text("".join([*header, *lines]), encoding="utf-8")
        arriving.rename(arrived)

    def job(self, name: str, day: date, *more: str, expect: int = 0) -> None:
        """Run one job at the end of a day; RuntimeError when it does not end as expected."""
        code = run_job(name, self.arguments(day, *more))
        if code != expect:
            raise RuntimeError(
                f"{name} of {day} ended with {code} instead of {expect}, see {self.folder}/runs/error.log"
            )

    def killed(self, name: str, day: date, *more: str, after_writes: int) -> None:
        """The same in a process of its own that is killed (SIGKILL) after so many writes to tables."""
        command = [sys.executable, "-m", "tests.year.killed", name, str(after_writes), *self.arguments(day, *more)]
        code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300).returncode
        if code != -9:
            raise RuntimeError(f"{name} of {day} was to be killed and ended with {code}")

    def arguments(self, day: date, *more: str) -> list[str]:
        """The command line of a job at the end of a day; the model's dates are those of the last day of training."""
        last = max(each for each in self.year.trainings if each <= day)
        settings = [f"name={self.name}", f"output_dir={self.out}", f"timeline.data_through={day}"]
        settings += [f"timeline.score=[{day}]", *self.year.settings_of(last)]
        return ["--config", str(CONFIG), *(part for each in settings for part in ("--set", each)), *more]

    def ingest(self, day: date) -> None:
        """From the files to the levels."""
        for name in INGEST:
            self.job(name, day)

    def learn(self, training: date) -> None:
        """The labels that are known on a day of training, and a model; it scores from now on if it passes the gate."""
        dates = self.year.training_dates(training)
        self.job("labels", training, *between(dates[0], dates[-1], every=7))
        for name in RETRAIN:
            self.job(name, training)


def between(first: date, last: date, *, every: int = 1) -> tuple[str, ...]:
    """The arguments for several as-of dates."""
    return "--from", str(first), "--to", str(last), "--every", str(every)
