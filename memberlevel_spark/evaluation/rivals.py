"""The forecasts that stand beside the model's on the test date, from the very same encoded examples.

In: training rows and test rows. Out: one ``Forecast`` per rival, by name.

Shape legend: N rows, E encoded features, K levels.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from memberlevel_spark.evaluation.baselines import (
    boosted_tree_probabilities,
    logistic_probabilities,
    majority_probabilities,
    persistence_probabilities,
)
from memberlevel_spark.evaluation.forecasts import Forecast
from memberlevel_spark.evaluation.inputs import IntArray
from memberlevel_spark.evaluation.run_rate import RunRate
from memberlevel_spark.scoring.apply import feature_matrix

TREE = "boosted_tree"


@dataclass(frozen=True)
class Rows:
    """Encoded examples."""

    features_NE: np.ndarray
    level_now_N: IntArray
    target_N: IntArray


def rows_of(examples: pa.Table) -> Rows:
    """From columns features, level_now and target_level."""
    features_NE = feature_matrix(examples.column("features").combine_chunks())
    return Rows(features_NE, *(examples.column(name).to_numpy() for name in ("level_now", "target_level")))


def tree_forecast(train: Rows, test: Rows, run_rate: RunRate, *, seed: int) -> dict[str, Forecast]:
    """The boosted tree alone."""
    encoder = run_rate.encoder
    # The events at the end are a sequence, whose numbers mean nothing one by one.
    train_x, test_x = (rows.features_NE[:, : len(encoder.names)] for rows in (train, test))
    p_level_NK = boosted_tree_probabilities(train_x, train.target_N, test_x, num_levels=encoder.num_levels, seed=seed)
    return {TREE: Forecast(p_level_NK)}


def rival_forecasts(train: Rows, test: Rows, run_rate: RunRate, *, seed: int) -> dict[str, Forecast]:
    """Boosted tree, logistic regression, the rules applied to the run-rate, persistence, training shares.

    The run-rate and persistence name one level; it gets the share of training rows in which it came true.
    """
    num_levels, num_scaled = run_rate.encoder.num_levels, run_rate.encoder.num_scaled
    # Needs are not scaled, and a linear model has them as distances to the levels already.
    train_x, test_x = (rows.features_NE[:, :num_scaled] for rows in (train, test))
    logistic = logistic_probabilities(train_x, train.target_N, test_x, num_levels=num_levels)
    named = {
        "run_rate": [run_rate.levels(rows.features_NE) for rows in (train, test)],
        "persistence": [train.level_now_N, test.level_now_N],
    }
    stated = {
        name: persistence_probabilities(of_test_N, float((of_train_N == train.target_N).mean()), num_levels)
        for name, (of_train_N, of_test_N) in named.items()
    }
    shares_K = np.bincount(train.target_N, minlength=num_levels)
    return {
        **tree_forecast(train, test, run_rate, seed=seed),
        "logistic": Forecast(logistic),
        "run_rate": run_rate.outcomes(test.features_NE).with_levels(stated["run_rate"]),
        "persistence": Forecast(stated["persistence"]),
        "majority": Forecast(majority_probabilities(shares_K, len(test.target_N))),
    }
