"""The gate: a model becomes champion only when it beats the assumption that nobody moves. No Spark, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

Metrics = Mapping[str, float | None]
# Metric and whether a larger value is better; the model must be strictly better on each.
MUST_BEAT_PERSISTENCE = {"accuracy": True, "macro_f1": True, "log_loss": False}


@dataclass(frozen=True)
class Decision:
    """Whether the model passed, and one reason per metric with both numbers."""

    passed: bool
    reasons: tuple[str, ...]


def decide(model: Metrics, persistence: Metrics) -> Decision:
    """Compare a model with persistence on the out-of-time test date; an undefined metric does not pass."""
    verdicts = {}
    for name, larger_is_better in MUST_BEAT_PERSISTENCE.items():
        ours, theirs = model.get(name), persistence.get(name)
        better = ours is not None and theirs is not None and (ours > theirs if larger_is_better else ours < theirs)
        verdicts[
            f"{name} {_shown(ours)} against persistence {_shown(theirs)}: {'better' if better else 'not better'}"
        ] = better
    return Decision(all(verdicts.values()), tuple(verdicts))


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"
