"""A trained network from which another one learns the levels, beside the labels.

Shape legend: B rows of a rank's batch, F features, K levels.
"""

from pathlib import Path

import torch
from torch import Tensor

from memberlevel_spark.models.losses import distillation_loss_B
from memberlevel_spark.training.job import TrainingJob


class Teacher:
    """The network of a finished run, as it predicts: dropout off, no gradient."""

    def __init__(self, job: TrainingJob, device: torch.device) -> None:
        """Load the job's teacher. Errors: ArtefactError when it is missing or damaged."""
        # Imported here: the plots' library takes a second to load, which runs without a teacher need not wait for.
        from memberlevel_spark.training.artefacts import load_network

        self._network = load_network(Path(str(job.teacher_dir))).to(device)
        self._distillation = job.training.distillation

    def mixed_in_B(self, level_loss_B: Tensor, log_p_level_BK: Tensor, features_BF: Tensor) -> Tensor:
        """Return (1 − share) · the level's own loss + share · the distance to the teacher's probabilities."""
        with torch.no_grad():
            log_p_teacher_BK = self._network(features_BF).log_p_level_BK
        share, temperature = self._distillation.share, self._distillation.temperature
        distance_B = distillation_loss_B(log_p_level_BK, log_p_teacher_BK, temperature=temperature)
        return (1 - share) * level_loss_B + share * distance_B
