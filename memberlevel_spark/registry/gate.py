"""The gate: a model becomes champion only when it beats the assumption that nobody moves. No Spark, no torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

Metrics = Mapping[str, float | None]
# The proper score of the probabilities has to be better; the shares may not be worse beyond what chance explains.
MUST_BE_BETTER = "log_loss"
MUST_NOT_BE_WORSE = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class Decision:
    """Whether the model passed, and one reason per metric with both numbers."""

    passed: bool
    reasons: tuple[str, ...]


def decide(model: Metrics, persistence: Metrics, *, num_members: int) -> Decision:
    """Compare a model with persistence on the out-of-time test date; an undefined metric does not pass.

    Log-loss must be lower. Accuracy and macro-F1 may be lower by at most two standard errors of persistence's accuracy,
    ``2 sqrt(a (1 - a) / n)`` for n members: on few members a good model is behind by chance.
    """
    stays = persistence.get("accuracy") or 0.0
    noise = 2 * math.sqrt(stays * (1 - stays) / max(num_members, 1))
    verdicts = [_verdict(MUST_BE_BETTER, model, persistence, least_gain=0.0, sign=-1)]
    verdicts += [_verdict(name, model, persistence, least_gain=-noise, sign=1) for name in MUST_NOT_BE_WORSE]
    return Decision(all(passed for passed, _ in verdicts), tuple(reason for _, reason in verdicts))


def _verdict(name: str, model: Metrics, persistence: Metrics, *, least_gain: float, sign: int) -> tuple[bool, str]:
    ours, theirs = model.get(name), persistence.get(name)
    passed = ours is not None and theirs is not None and sign * (ours - theirs) > least_gain
    allowed = f" (may lag {-least_gain:.4f})" if least_gain else ""
    return (
        passed,
        f"{name} {_shown(ours)} against persistence {_shown(theirs)}{allowed}: {'passed' if passed else 'failed'}",
    )


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"
