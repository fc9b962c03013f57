"""Parity: what is scored is what was trained, on a sample of the test date, in every run that registers a model.

In: the examples that the model was evaluated on, the present features, the run folder and the scoring path. Out: how
far apart they are, or an error that names the columns.

Shape legend: N members of the sample, E encoded features, K levels.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from memberlevel_spark.errors import DataQualityError, first_five
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.models.calibrators import Calibrators
from memberlevel_spark.run import Run
from memberlevel_spark.scoring.apply import apply_model, feature_matrix
from memberlevel_spark.scoring.members import encode_members
from memberlevel_spark.scoring.predictor import PackedModel
from memberlevel_spark.training.artefacts import level_probabilities
from memberlevel_spark.training.stage import kept_dir, trained_examples_version, trained_files

SAMPLE_MEMBERS = 256
LARGEST_DIFFERENCE = 1e-6


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
    scored = encode_members(run, encoder, [test_date], kept=("level_now",), only=only).rows.cache()
    try:
        features_NE = _same_features(encoder, trained, scored.orderBy("member_id").toArrow())
        # Calibrators come after the network, and training does not have them.
        plain = replace(PackedModel.of(files), calibrators_json=Calibrators().to_json())
        applied = apply_model(scored, plain, method=run.config.scoring.method).orderBy("member_id").toPandas()
    finally:
        scored.unpersist()
    difference_NK = np.abs(np.stack(applied["p_level"].to_list()) - level_probabilities(kept_dir(run), features_NE))
    if not difference_NK.max() <= LARGEST_DIFFERENCE:
        raise DataQualityError(
            f"scoring and training say different things of the same members: probabilities differ by up to"
            f" {difference_NK.max():.3g}. Score with the library versions it was trained with, or train it again."
        )
    return Parity(len(trained), encoder.num_features, float(difference_NK.max()))


def _same_features(encoder: Encoder, trained: pa.Table, scored: pa.Table) -> np.ndarray:
    """The features [N, E] of both."""
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
    return ours_NE
