"""Parity at registration: what would be scored is what was trained, column by column, on a sample of the test date.

In: the examples that the model was evaluated on, the present features, the run folder and the scoring path. Out: how
far apart they are, or an error that names the columns. What scoring itself compares in every run is in
``scoring/parity.py``.

Shape legend: N members of the sample, E encoded features.
"""

from dataclasses import asdict, dataclass

import pyarrow as pa
from pyspark.sql import functions as F

from memberlevel_spark.errors import DataQualityError, first_five
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.run import Run
from memberlevel_spark.scoring.apply import feature_matrix
from memberlevel_spark.scoring.members import encode_members
from memberlevel_spark.scoring.parity import prove_parity
from memberlevel_spark.scoring.predictor import PackedModel
from memberlevel_spark.training.stage import trained_examples_version, trained_files

SAMPLE_MEMBERS = 256


@dataclass(frozen=True)
class Parity:
    """Members compared, and the largest difference of a level's probability between training and scoring."""

    num_members: int
    num_features: int
    largest_difference: float

    def plain(self) -> dict[str, float]:
        """For the decision's file."""
        return asdict(self)


def check_parity(run: Run) -> Parity:
    """Compare the features of training and of scoring column by column, and both ways to the level probabilities.

    Errors: DataQualityError when a member is missing, a feature differs, or a probability by more than 1e-6.
    """
    files, test_date = trained_files(run), run.config.timeline.test
    encoder = Encoder.from_json(files["encoder.json"].decode("utf-8"))
    examples = run.tables.read("examples", trained_examples_version(run)).where(F.col("split") == "test")
    # Row keys are hashes: the first ones are a sample, and the same one every time.
    sample = examples.orderBy("row_key").limit(SAMPLE_MEMBERS).select("member_id", "level_now", "features")
    trained = sample.orderBy("member_id").toArrow()
    only = run.tables.spark.createDataFrame(trained.select(["member_id"]))
    scored = encode_members(run, encoder, [test_date], kept=("level_now",), only=only).rows
    _check_features(encoder, trained, scored.orderBy("member_id").toArrow())
    largest = prove_parity(scored, PackedModel.of(files), method=run.config.scoring.method)
    return Parity(len(trained), encoder.num_features, largest)


def _check_features(encoder: Encoder, trained: pa.Table, scored: pa.Table) -> None:
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
