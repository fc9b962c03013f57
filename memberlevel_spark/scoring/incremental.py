"""Incremental scoring: who is encoded as before keeps the champion's score, only the others pass the network.

In: encoded members with ``features_hash``, the ledger. Out: the rows of ``member_scores`` that a full run makes.

A forecast depends on the model and the encoded array alone, to the bit, and on no date: so a row of the ledger by the
same model, for the same member and an equal array, is the row of another date too. Nobody has to know which tables
changed, or why. An array that holds the number of days since something is another one every day.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.forecast_schemas import MEMBER_SCORES
from memberlevel_spark.run import Run
from memberlevel_spark.scoring.keeping import build_earlier, build_kept, build_matched
from memberlevel_spark.scoring.parity import LARGEST_DIFFERENCE

# Rows of ``member_scores`` of encoded members.
Score = Callable[[DataFrame], DataFrame]


@dataclass(frozen=True)
class Scored:
    """Rows of ``member_scores``, and how many of them are kept from before."""

    rows: DataFrame
    num_kept: int


@contextmanager
def incremental_scores(
    run: Run, encoded: DataFrame, score: Score, model_version: str, dates: Sequence[date]
) -> Iterator[Scored]:
    """The scores of encoded members; the rows can be read as long as the context is open.

    Scores are kept from the dates themselves and from the latest date before them that the model has scored. With none
    of them, such as after a change of the champion, every row is computed.

    Errors: ArtefactError when a kept score is not what the model says now.
    """
    earlier = _earlier(run, model_version, dates)
    if earlier is None:
        yield Scored(score(encoded), 0)
        return
    matched = build_matched(encoded, earlier).persist()
    try:
        kept = build_kept(matched)
        _prove(matched, score, run.config.scoring.proof_members)
        computed = score(matched.where(F.col("earlier").isNull()).drop("earlier"))
        yield Scored(computed.unionByName(kept), kept.count())
    finally:
        matched.unpersist()


def _earlier(run: Run, model_version: str, dates: Sequence[date]) -> DataFrame | None:
    """What may be kept; None where the model has scored nobody, or the ledger is from before there were hashes."""
    if not run.tables.exists(MEMBER_SCORES.name):
        return None
    ledger = run.tables.read(MEMBER_SCORES.name)
    if "features_hash" not in ledger.columns:
        return None
    own = ledger.where((F.col("model_version") == model_version) & F.col("features_hash").isNotNull())
    before = own.where(F.col("as_of_date") < F.lit(max(dates))).agg(F.max("as_of_date")).collect()[0][0]
    some = own.where(F.col("as_of_date").isin([*dates, before]))
    return None if some.isEmpty() else build_earlier(some)


def _prove(matched: DataFrame, score: Score, num_members: int) -> None:
    """Compute a sample of the kept scores anew, the same one every time. Errors: ArtefactError when one differs."""
    order = [F.xxhash64("member_id"), F.col("as_of_date")]
    sample = matched.where(F.col("earlier").isNotNull()).orderBy(*order).limit(num_members)
    kept, computed = (
        {(row["member_id"], row["as_of_date"]): row for row in frame.collect()}
        for frame in (build_kept(sample), score(sample.drop("earlier")))
    )
    different = {
        f"{member} as of {day}" for (member, day), row in kept.items() if not equal(row, computed[member, day])
    }
    if different:
        raise ArtefactError(
            f"kept scores are not what the model says now: {len(different)} of {len(kept)} in the sample,"
            f" {first_five(different)}. Nothing was written; run the job without --incremental, which computes all of"
            " them, and find out who changed the ledger or the libraries."
        )


def equal(one: T.Row, other: T.Row) -> bool:
    """Whether two rows of ``member_scores`` agree: numbers to 1e-6, relative above 1, and all else exactly."""
    (numbers_N, words), (others_N, other_words) = _parts(one), _parts(other)
    if words != other_words or len(numbers_N) != len(others_N):
        return False
    return bool((np.abs(numbers_N - others_N) <= LARGEST_DIFFERENCE * np.maximum(np.abs(others_N), 1)).all())


def _parts(row: T.Row) -> tuple[NDArray[np.float64], list[object]]:
    """The numbers that are computed, and everything else."""
    values, told = row.asDict(recursive=True), row["next_categories"] or []
    words: list[object]
    numbers = [value for value in values.values() if isinstance(value, float)]
    words = [value for name, value in values.items() if isinstance(value, str | int | date)]
    words += [one["category"] for one in told]
    return np.array([*numbers, *row["p_level"], *(one["p"] for one in told)]), words
