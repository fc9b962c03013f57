"""The learning rate of each step."""

import math

from memberlevel_spark.config.training import TrainingConfig

# Where the exponential schedule ends, as a share of the peak.
_LAST_SHARE = 0.01


def learning_rate_at(step: int, num_steps: int, training: TrainingConfig) -> float:
    """Rise in a straight line over the warm-up steps, then fall as the schedule says until after the last step.

    With t the share of the steps after the warm-up that are done, in [0, 1): cosine (1 + cos(pi t)) / 2, linear 1 - t,
    exponential 0.01 ** t; times the peak.
    """
    warmup_steps = round(training.warmup_share * num_steps)
    if step < warmup_steps:
        return training.learning_rate * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    falling = {
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "linear": 1 - done,
        "exponential": _LAST_SHARE**done,
    }
    return training.learning_rate * falling[training.schedule]
