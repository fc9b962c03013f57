"""What a tuning leaves: every trial, the best settings as a file of the configuration, and a figure of its course.

In: a study with at least one trial that came to its end. Out: ``trials.csv``, ``best.yaml``, ``course.png``; the same
study gives the same bytes.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import yaml
from matplotlib.axes import Axes
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.training.course_plot import course_png
from memberlevel_spark.training.tuning.space import Space, by_section, settings_of
from memberlevel_spark.training.tuning.study import IS_CONFIGURED, NOTE

TRIALS, BEST, COURSE = "trials.csv", "best.yaml", "course.png"
ENDED = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "ended early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "cut off",
}


def write_results(study: Study, space: Space, folder: Path) -> str:
    """Write the three files into a folder that is there; returns the best values beside the configured ones, as a line.

    Errors: ConfigError when the time was over before a trial came to its end.
    """
    trials = [trial for trial in study.get_trials() if trial.state in ENDED]
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not done:
        raise ConfigError(
            f"no trial came to its end: {len(trials)} were begun. Raise tuning.timeout_minutes and start again: the"
            " tuning goes on."
        )
    told = _told(trials, study.best_trial, space)
    (folder / TRIALS).write_text(_csv(trials, space), encoding="utf-8")
    (folder / BEST).write_text(_yaml(settings_of(study.best_trial.params, space), told), encoding="utf-8")
    picture = course_png(
        lambda axes: _paint(axes, trials),
        xlabel="trial",
        ylabel="validation log-loss (nats)",
        title="Course of the tuning",
    )
    (folder / COURSE).write_bytes(picture)
    return told


def _told(trials: list[FrozenTrial], best: FrozenTrial, space: Space) -> str:
    settings = ", ".join(f"{key}={_shown(value)}" for key, value in settings_of(best.params, space).items())
    early = sum(trial.state == TrialState.PRUNED for trial in trials)
    finished = early + sum(trial.state == TrialState.COMPLETE for trial in trials)
    configured = _configured(trials)
    beside = "" if configured is None else f", as configured {configured:.4f}"
    return (
        f"{finished} trials, {early} of them ended early; best is trial {best.number}: validation log-loss"
        f" {best.value:.4f}{beside}; {settings}"
    )


def _configured(trials: list[FrozenTrial]) -> float | None:
    """The validation log-loss of the configuration as it is; None when its trial did not come to its end."""
    for trial in trials:
        if IS_CONFIGURED in trial.user_attrs and trial.state == TrialState.COMPLETE:
            return trial.value
    return None


def _csv(trials: list[FrozenTrial], space: Space) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "ended", "validation_log_loss", "epochs", *space, "note"])
    for trial in trials:
        settings = settings_of(trial.params, space)
        note = trial.user_attrs.get(NOTE) or ("as configured" if IS_CONFIGURED in trial.user_attrs else "")
        tried = [_shown(settings[key]) if key in settings else "" for key in space]
        value = "" if trial.value is None else trial.value
        writer.writerow([trial.number, ENDED[trial.state], value, len(trial.intermediate_values), *tried, note])
    return text.getvalue()


def _yaml(settings: dict[str, Any], told: str) -> str:
    head = f"# {told}\n# To train with it: --config conf/<shop>.yaml --config <this file>\n"
    return head + yaml.safe_dump(by_section(settings), sort_keys=False)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _paint(axes: Axes, trials: list[FrozenTrial]) -> None:
    """Trials that came to their end, those that were ended early at their last value, and the best so far."""
    for state, marker, label in ((TrialState.COMPLETE, "o", "done"), (TrialState.PRUNED, "x", "ended early")):
        points = [(trial.number, trial.value) for trial in trials if trial.state == state and trial.value is not None]
        if points:
            axes.scatter(*zip(*points, strict=True), marker=marker, label=label)
    done = [
        (trial.number, trial.value)
        for trial in trials
        if trial.state == TrialState.COMPLETE and trial.value is not None
    ]
    best = [min(value for _, value in done[: number + 1]) for number in range(len(done))]
    axes.step([number for number, _ in done], best, where="post", label="best so far")
    configured = _configured(trials)
    if configured is not None:
        axes.axhline(configured, color="grey", linestyle=":", label=f"as configured, {configured:.4f}")
