"""The numbers a forecast of the next category is judged by, equal for the model and for its rivals; no Spark.

In: the realised number of each member's category, and its probabilities given an order. Out: one number per metric.

Shape legend: N members, C categories, the last of them all others.
"""

import numpy as np
from numpy.typing import ArrayLike

from memberlevel_spark.evaluation.inputs import FloatArray, check_same_rows

HITS = (1, 3)


def category_metrics(
    category_N: ArrayLike, p_category_NC: ArrayLike, first_N: ArrayLike | None = None
) -> dict[str, float | None]:
    """Judge the forecast among the members whose category is known; every metric is None where there is none.

    - category_hit_1, _3: share whose category is the one, or among the three, that the forecast names first. Likelier
      ones are named earlier, of equally likely ones the lower number; all others count as one category.
    - category_log_loss: mean −ln P(category | an order), in nats; 0 is taken as the smallest float64 step (36 nats).

    Args:
        category_N: numbers of the categories, -1 where there was no order, or none with a category.
        p_category_NC: probabilities of a member with an order.
        first_N: what is named first whatever its probability; -1, or None for all: nothing is.

    Raises:
        DataQualityError: the numbers of rows differ.
    """
    true_N, p_NC = np.asarray(category_N), np.asarray(p_category_NC, dtype=np.float64)
    named_N = np.full(len(true_N), -1) if first_N is None else np.asarray(first_N)
    check_same_rows(category=true_N, p_category=p_NC, first=named_N)
    known_N = true_N >= 0
    if not known_N.any():
        return {**{f"category_hit_{count}": None for count in HITS}, "category_log_loss": None}
    rank_M = _ranks(p_NC[known_N], named_N[known_N])[np.arange(known_N.sum()), true_N[known_N]]
    p_M = p_NC[known_N][np.arange(known_N.sum()), true_N[known_N]]
    return {
        **{f"category_hit_{count}": float((rank_M < count).mean()) for count in HITS},
        "category_log_loss": float(-np.log(np.maximum(p_M, np.finfo(np.float64).eps)).mean()),
    }


def _ranks(p_NC: FloatArray, first_N: np.ndarray) -> np.ndarray:
    """The place of every category in the order in which they are named, from 0."""
    score_NC = np.where(np.arange(p_NC.shape[1]) == first_N[:, None], np.inf, p_NC)
    return np.argsort(np.argsort(-score_NC, axis=1, kind="stable"), axis=1, kind="stable")
