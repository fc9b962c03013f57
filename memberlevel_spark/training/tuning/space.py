"""The declared space as Optuna takes it, and what a trial drew from it as settings of a training run.

A choice travels as JSON text: Optuna keeps plain values only, and a setting may be a list.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from memberlevel_spark.config.training import TrainingConfig
from memberlevel_spark.config.tuning import Dimension, Sections, accepted, configured, holds_integers
from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.training.job import TrainingJob

Space = Mapping[str, BaseDistribution]


def optuna_space(space: Mapping[str, Dimension], sections: Sections) -> dict[str, BaseDistribution]:
    """The dimensions, which the configuration has checked, as Optuna's distributions, by dotted key."""
    return {key: _distribution(key, dimension, sections) for key, dimension in space.items()}


def configured_values(space: Space, sections: Sections) -> dict[str, Any]:
    """What the configuration itself says, in the form in which a trial draws it."""
    values = {key: configured(key, sections) for key in space}
    return {key: json.dumps(value) if _is_choice(space[key]) else value for key, value in values.items()}


def settings_of(drawn: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """What a trial drew, as plain values by dotted key, in the order of the space; keys not yet drawn are left out."""
    return {key: json.loads(drawn[key]) if _is_choice(space[key]) else drawn[key] for key in space if key in drawn}


def by_section(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings with dotted keys as nested ones."""
    nested: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return nested


def with_settings(job: TrainingJob, settings: Mapping[str, Any]) -> TrainingJob:
    """The job with a trial's settings.

    Errors: ConfigError when they contradict each other.
    """
    nested = by_section(settings)
    try:
        training = TrainingConfig.model_validate(job.training.model_dump() | nested.get("training", {}))
    except ValidationError as problem:
        reason = str(problem.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigError(
            f"settings of a trial contradict each other: {first_five(f'{k}={v}' for k, v in settings.items())};"
            f" expected {reason}. Narrow tuning.space."
        ) from None
    return replace(job, training=training, model=ModelSpec.from_dict(job.model.to_dict() | nested.get("model", {})))


def _distribution(key: str, dimension: Dimension, sections: Sections) -> BaseDistribution:
    if dimension.choices is not None:
        return CategoricalDistribution([json.dumps(accepted(key, choice, sections)) for choice in dimension.choices])
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if holds_integers(key, sections):
        return IntDistribution(int(low), int(high), log=dimension.log, step=dimension.step or 1)
    return FloatDistribution(low, high, log=dimension.log)


def _is_choice(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, CategoricalDistribution)
