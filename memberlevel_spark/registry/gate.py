"""The gate: what a model has to show on the test date before it is champion. No Spark, no torch.

In: an evaluation, and how its canaries scored. Out: the decision, with one reason per question.

- persistence: log-loss lower; accuracy and macro-F1 not surely worse.
- champion: log-loss lower than that of the model it would replace, where that one can be compared.
- boosted_tree: log-loss not surely worse than the boosted tree's by more than a margin.
- calibration: the error is at most so much above what a perfect forecast shows by chance.
- slices: in no part of the members the accuracy is surely worse than persistence by more than a bound.
- canaries: made-up members get forecasts that are possible.

Surely means that the middle 95 % over resamples of members lies on that side, or two standard errors: a shop of few
members gets no better models by demanding what few members cannot show.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memberlevel_spark.config.model import GateConfig

Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class Check:
    """One question, whether the model passed it, and the numbers."""

    name: str
    passed: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}: {'passed' if self.passed else 'failed'}"


@dataclass(frozen=True)
class Decision:
    """Whether the model passed all checks, and what each of them said."""

    passed: bool
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, checks: Sequence[Check]) -> "Decision":
        """From all checks."""
        return cls(all(check.passed for check in checks), tuple(map(str, checks)))

    @property
    def failed(self) -> tuple[str, ...]:
        """The reasons that speak against it."""
        return tuple(reason for reason in self.reasons if reason.endswith("failed"))


def decide(evaluation: Mapping[str, Any], canary_problems: Sequence[str], rules: GateConfig) -> Decision:
    """Ask every question of the module's list; a metric that is undefined does not pass.

    Args:
        evaluation: ``evaluation.json``: num_members, test, comparisons, ece_by_chance, slices, champion.
        canary_problems: what is impossible in the forecasts of the canaries.
        rules: margins and bounds.
    """
    test, told = evaluation["test"], evaluation["comparisons"]
    members = evaluation["num_members"]
    checks = [
        _lower("persistence", told["persistence"]["log_loss"]),
        *(_not_worse(name, test["model"], test["persistence"], members) for name in ("accuracy", "macro_f1")),
        *_champion(evaluation),
        _within("boosted_tree", told["boosted_tree"]["log_loss"], rules.boosted_tree_margin),
        _calibrated(test["model"]["ece"], evaluation["ece_by_chance"], rules.max_ece),
        _slices(evaluation["slices"], rules.max_slice_lag),
        Check("canaries", not canary_problems, "; ".join(canary_problems) or "all forecasts are possible"),
    ]
    return Decision.of(checks)


def _lower(name: str, difference: Metrics) -> Check:
    mean = difference["mean"]
    return Check(name, mean is not None and mean < 0, f"log_loss {_interval(difference)} less than its own")


def _not_worse(metric: str, model: Metrics, persistence: Metrics, num_members: int) -> Check:
    ours, theirs = model[metric], persistence[metric]
    noise = _two_errors(persistence["accuracy"], num_members)
    passed = ours is not None and theirs is not None and ours - theirs > -noise
    return Check("persistence", passed, f"{metric} {_shown(ours)} against {_shown(theirs)} (may lag {noise:.4f})")


def _champion(evaluation: Mapping[str, Any]) -> list[Check]:
    present = evaluation["champion"]
    if present is None:
        return []
    if present["why_not"] is not None:
        reason = f"{present['model_version']} cannot be compared: {present['why_not']}"
        return [Check("champion", True, reason)]
    return [_lower(f"champion {present['model_version']}", evaluation["comparisons"]["champion"]["log_loss"])]


def _within(name: str, difference: Metrics, margin: float) -> Check:
    low = difference["mean"] if difference["low"] is None else difference["low"]
    passed = low is not None and low <= margin
    return Check(name, passed, f"log_loss {_interval(difference)} (may be surely worse by {margin:.4f})")


def _calibrated(ece: float | None, by_chance: float, allowed: float) -> Check:
    passed = ece is not None and ece - by_chance <= allowed
    return Check("calibration", passed, f"error {_shown(ece)}, by chance {by_chance:.4f} (may be {allowed:.4f} above)")


def _slices(slices: Sequence[Mapping[str, Any]], bound: float) -> Check:
    """Slices too small to be judged have no accuracy."""
    lags = {f"{row['dimension']} {row['slice']}": _lag(row) for row in slices if row["accuracy"] is not None}
    worse = [f"{name} by {lag:.4f}" for name, lag in lags.items() if lag > bound]
    reason = f"surely worse than persistence in {', '.join(worse)}" if worse else f"none of {len(lags)} is surely worse"
    return Check("slices", not worse, f"{reason} (bound {bound:.4f})")


def _lag(row: Mapping[str, Any]) -> float:
    """By how much persistence is right more often, beyond what chance explains."""
    stays = row["persistence_accuracy"]
    return float(stays - row["accuracy"] - _two_errors(stays, row["members"]))


def _two_errors(share: float | None, num_members: int) -> float:
    """Two standard errors of a share of so many members, 2 sqrt(a (1 − a) / n)."""
    known = share or 0.0
    return 2 * math.sqrt(known * (1 - known) / max(num_members, 1))


def _interval(difference: Metrics) -> str:
    mean, low, high = (difference[name] for name in ("mean", "low", "high"))
    if mean is None:
        return "n/a"
    return f"{mean:+.4f}" if low is None or high is None else f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"
