"""What a Spark failure means for the user: from error conditions to errors with an exit code. No session is needed."""

import re

from memberlevel_spark import errors
from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError, MemberLevelError

CONDITION = re.compile(r"\[([A-Z][A-Z0-9_]+(?:\.[A-Z0-9_]+)?)\]")
# An error of ours that was raised in a Python worker comes back as text in the middle of a traceback.
OURS = re.compile(r"^memberlevel_spark\.errors\.(\w+): (.+)$", re.MULTILINE)
# Of the operating system, in Python's errors and in Java's alike.
DISK_FULL = "No space left on device"
FILE_GONE = "FAILED_READ_FILE"
WORKER_LOST = "Python worker exited unexpectedly"
MEANINGS: tuple[tuple[str, type[MemberLevelError], str], ...] = (
    (
        "CAST_INVALID_INPUT",
        DataQualityError,
        "a value cannot be cast to the type an expression of the configuration asks for. Use try_cast in"
        " sources.*.maps, the row is then quarantined instead",
    ),
    (
        FILE_GONE,
        ArtefactError,
        "a file of a table or source is missing or damaged. Restore it, or run the stage that makes the table again",
    ),
    (
        "DELTA_TRUNCATED_TRANSACTION_LOG",
        ArtefactError,
        "a Delta log has lost entries. Restore the _delta_log folder, or remove the table and run its stage again",
    ),
    (
        "DELTA_NOT_NULL_CONSTRAINT_VIOLATED",
        DataQualityError,
        "a required column would hold a null. Look at the stage's input for rows the quality rules let through",
    ),
    ("ARITHMETIC_OVERFLOW", DataQualityError, "a number does not fit its type. Look for absurd amounts in the source"),
    (
        "DELTA_CONCURRENT",
        ArtefactError,
        "another job wrote to the same table at the same time, and what it wrote is there. Run this job again if its"
        " rows should be there too",
    ),
    (
        "DELTA_UNSUPPORTED_FEATURES",
        ArtefactError,
        "a table was written by a newer Delta than this one. Upgrade delta-spark and its jars, or read it with what"
        " wrote it",
    ),
    ("PATH_NOT_FOUND", ConfigError, "a path of the configuration does not exist. Check sources.*.path"),
)


def explain(problem: Exception) -> MemberLevelError | None:
    """The error a user can act on, or None for a condition that is not known."""
    text = str(problem)
    if raised := OURS.search(text):
        kind: type[MemberLevelError] = getattr(errors, raised[1], ArtefactError)
        return kind(raised[2])
    if WORKER_LOST in text:
        return ArtefactError(
            "a Python worker of Spark ended in the middle of its work, killed or out of memory; nothing was written."
            " Give the executors more memory or fewer cores, and run the job again."
        )
    # Before conditions: Spark says of a file that it could not write, and only then why.
    if DISK_FULL in text:
        return ConfigError(
            "the disk is full. Free some space and run the job again; nothing half-written was published."
        )
    for condition in CONDITION.findall(text):
        for prefix, kind, meaning in MEANINGS:
            if condition.startswith(prefix):
                return kind(f"{meaning}: {condition}.")
    return None
