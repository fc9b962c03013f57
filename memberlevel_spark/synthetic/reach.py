"""How far a model gets on the way from persistence to the truth. No Spark.

In: realised levels and the level probabilities of a model, of persistence and of the truth, of the same members. Out:
one number. Shapes: N members, K levels.
"""

import numpy as np
from numpy.typing import ArrayLike

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.metrics import level_metrics


def share_of_reachable_gain(
    realised_N: ArrayLike, *, p_model_NK: ArrayLike, p_persistence_NK: ArrayLike, p_truth_NK: ArrayLike
) -> float:
    """How much of the possible progress over persistence a model makes: 0 like persistence, 1 like the truth.

    (L(persistence) − L(model)) / (L(persistence) − L(truth)), where L is the mean log-loss −ln p(realised level). Below
    0 a model is worse than persistence; a little above 1 can happen by luck on few rows.

    Errors: DataQualityError when persistence is as good as the truth, so that there is nothing to gain.
    """
    losses = [_log_loss(realised_N, p) for p in (p_persistence_NK, p_model_NK, p_truth_NK)]
    persistence, model, truth = losses
    if persistence - truth <= 0:
        raise DataQualityError(
            f"there is nothing to gain over persistence: log-loss {persistence:.4f}, of the truth {truth:.4f}."
            " Judge on more rows, or on a world with more movement."
        )
    return (persistence - model) / (persistence - truth)


def _log_loss(realised_N: ArrayLike, p_NK: ArrayLike) -> float:
    # The level now plays no part in the log-loss.
    loss = level_metrics(realised_N, np.zeros_like(np.asarray(realised_N)), p_NK)["log_loss"]
    assert loss is not None
    return loss
