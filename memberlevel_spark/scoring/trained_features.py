"""Features of training and of scoring, column by column: a sample of the model's test date is encoded anew, as scoring
does it, and held beside ``examples``, which training has read.

In: the tables in the state that the model was registered on, and its encoder. Out: how many members were compared, or
an error that names the columns. How the two answer is compared in ``scoring/parity.py``.

Shape legend: N members of the sample, E encoded features.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date

import pyarrow as pa
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError, DataQualityError, first_five
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.registry.bundle import Bundle
from memberlevel_spark.run import Run
from memberlevel_spark.scoring.apply import feature_matrix
from memberlevel_spark.scoring.members import encode_rows
from memberlevel_spark.spark_errors import FILE_GONE

TRAINED_ON = "trained_on.json"


@dataclass(frozen=True)
class TableState:
    """One version of one table; the id tells it from another table in its place."""

    id: str
    version: int


@dataclass(frozen=True)
class TrainedOn:
    """The test date of a model, ``examples`` as it was trained on, and the tables those were encoded from."""

    as_of_date: date
    tables: Mapping[str, TableState]

    @classmethod
    def of(cls, run: Run, encoder: Encoder, examples_version: int) -> "TrainedOn":
        """The present state of the encoder's tables beside one version of ``examples``."""
        versions = {"examples": examples_version, **{name: run.tables.version(name) for name in encoder.tables}}
        states = {name: TableState(run.tables.identity(name), version) for name, version in versions.items()}
        return cls(run.config.timeline.test, states)

    def to_json(self) -> str:
        """For the bundle."""
        states = {name: asdict(state) for name, state in self.tables.items()}
        return json.dumps({"as_of_date": str(self.as_of_date), "tables": states}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "TrainedOn":
        """What ``to_json`` wrote."""
        record = json.loads(text)
        states = {name: TableState(**state) for name, state in record["tables"].items()}
        return cls(date.fromisoformat(record["as_of_date"]), states)


@dataclass(frozen=True)
class Compared:
    """How many members have equal features in training and scoring; none where ``why_not`` says what it lacks."""

    num_members: int
    why_not: str | None = None


def compare_with_training(run: Run, bundle: Bundle, encoder: Encoder) -> Compared:
    """Hold what scoring would read of ``scoring.proof_members`` of the bundle's test date beside its ``examples``.

    The tables are read as they were at the registration, so that late events are no difference. They may be elsewhere,
    or vacuumed since: then nothing is compared, and the reason is told.

    Errors: DataQualityError when a member is missing, or a feature differs.
    """
    if TRAINED_ON not in bundle.files:
        return Compared(0, "the bundle is of before it said which tables it was trained on")
    trained_on = TrainedOn.from_json(bundle.text(TRAINED_ON))
    try:
        replaced = {name for name, state in trained_on.tables.items() if run.tables.identity(name) != state.id}
        if replaced:
            return Compared(0, f"it was trained on other tables than there are here: {first_five(replaced)}")
        return Compared(compare_features(run, encoder, trained_on, run.config.scoring.proof_members))
    except ArtefactError as problem:
        return Compared(0, str(problem))
    except Exception as problem:
        # Spark says so when it reads a file, in its own words.
        if FILE_GONE not in str(problem):
            raise
        return Compared(0, "the tables it was trained on are vacuumed")


def compare_features(run: Run, encoder: Encoder, trained_on: TrainedOn, num_members: int) -> int:
    """Encode so many members of the test date, or all of them, and return how many were found equal to the bit.

    Errors: DataQualityError when a member is missing, or a feature differs; ArtefactError when a version is gone.
    """
    versions = {name: state.version for name, state in trained_on.tables.items()}
    examples = run.tables.read("examples", versions["examples"]).where(F.col("split") == "test")
    # A file of examples is a random sample of its split, so that its first rows are one too.
    trained = examples.select("member_id", "features").limit(num_members).toArrow().sort_by("member_id")
    members = trained.column("member_id").to_pylist()
    chosen = (F.col("as_of_date") == F.lit(trained_on.as_of_date)) & F.col("member_id").isin(members)
    scored = encode_rows(run, encoder, versions, chosen).select("member_id", "features")
    _require_equal(encoder, trained, scored.toArrow().sort_by("member_id"))
    return len(members)


def _require_equal(encoder: Encoder, trained: pa.Table, scored: pa.Table) -> None:
    there = set(trained.column("member_id").to_pylist())
    missing = there - set(scored.column("member_id").to_pylist())
    if missing:
        raise DataQualityError(
            f"members of the test date cannot be scored: {len(missing)} of {len(there)} in the sample have no features"
            " now. Run the stages features and examples again, then train."
        )
    ours_NE, theirs_NE = (feature_matrix(table.column("features").combine_chunks()) for table in (trained, scored))
    differ_E = (ours_NE != theirs_NE).any(axis=0)
    if differ_E.any():
        names = [
            *encoder.names,
            *(f"event number {place}" for place in range(encoder.num_features - len(encoder.names))),
        ]
        wrong = first_five(name for name, differs in zip(names, differ_E, strict=True) if differs)
        raise DataQualityError(
            f"scoring would read other features than training did, on the same date: {wrong}. Run the stage examples"
            " again, then train."
        )
