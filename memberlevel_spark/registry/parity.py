"""Parity at registration: what would be scored is what was trained, on a sample of the test date.

In: the examples that the model was evaluated on, the present features, the run folder and the scoring path. Out: how
far apart they are, or an error that names the columns. Scoring itself proves the same in every run, of the tables as
they are now.
"""

from dataclasses import asdict, dataclass

from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.run import Run
from memberlevel_spark.scoring.members import encode_members
from memberlevel_spark.scoring.parity import prove_parity, sample_of
from memberlevel_spark.scoring.predictor import PackedModel
from memberlevel_spark.scoring.trained_features import TrainedOn, compare_features
from memberlevel_spark.training.stage import ENCODER, trained_examples_version, trained_files

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


def check_parity(run: Run) -> tuple[Parity, TrainedOn]:
    """Compare the features of training and of scoring column by column, and both ways to the level probabilities.

    Also returned is the state of the tables for which that holds.

    Errors: DataQualityError when a member is missing, a feature differs, or a probability by more than 1e-6.
    """
    files = trained_files(run)
    encoder = Encoder.from_json(files[ENCODER].decode("utf-8"))
    encoded = encode_members(run, encoder, [run.config.timeline.test], kept=("level_now",))
    trained_on = TrainedOn.of(run, encoder, trained_examples_version(run))
    num_members = compare_features(run, encoder, trained_on, SAMPLE_MEMBERS)
    sample = sample_of(encoded.rows, SAMPLE_MEMBERS)
    largest = prove_parity(sample, PackedModel.of(files), method=run.config.scoring.method)
    return Parity(num_members, encoder.num_features, largest), trained_on
