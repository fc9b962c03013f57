"""Rows that unfold into several rows each, as arrays: orders into lines, sessions into clicks. No Spark."""

import numpy as np

from memberlevel_spark.synthetic.members import Ints


def unfold(counts_N: Ints) -> tuple[Ints, Ints]:
    """For counts [2, 0, 3]: the owner of each unfolded row [0, 0, 2, 2, 2] and its place there [0, 1, 0, 1, 2]."""
    owner = np.repeat(np.arange(len(counts_N)), counts_N)
    starts = np.cumsum(counts_N) - counts_N
    return owner, np.arange(len(owner)) - starts[owner]
