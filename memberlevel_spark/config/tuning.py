"""The section ``tuning``: how many trials, where they run, and the space of settings they are drawn from.

A key of the space is a dotted key of the sections ``model`` and ``training``; what a trial tries has to be something
that the configuration itself would accept. `conf/base.yaml` documents every key with its unit.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field, ValidationError

from memberlevel_spark.config.base import Model
from memberlevel_spark.config.training import CARRIED_OUT_BY

Sections = Mapping[str, Model]


class Dimension(Model):
    """The values of one key: ``choices``, or all from ``low`` to ``high``, both included.

    ``log`` draws evenly over orders of magnitude; ``step`` is the distance of whole numbers from one another (1), for
    keys that hold whole numbers only.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: int | None = Field(default=None, ge=1)
    choices: tuple[Any, ...] | None = None


class TuningConfig(Model):
    """Budget in trials and in minutes of one start, local processes, where the trials run, trials before the sampler
    and the pruner learn from earlier ones, and the space."""

    num_trials: int = Field(ge=1)
    timeout_minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    processes: int = Field(ge=1)
    where: Literal["local", "spark"]
    startup_trials: int = Field(ge=1)
    space: dict[str, Dimension]


def space_problems(space: Mapping[str, Dimension], sections: Sections) -> list[tuple[str, str]]:
    """What is wrong with a space whatever else is configured, as pairs of a key and what is expected of it.

    Args:
        space: the dimensions.
        sections: the sections ``model`` and ``training`` as configured.
    """
    return [(key, text) for key, dimension in space.items() for text in _problems(key, dimension, sections)]


def space_misfits(space: Mapping[str, Dimension], sections: Sections) -> list[str]:
    """Where a space without problems does not fit what else is configured: values that contradict it, and dimensions
    without the configured value, which is the first trial. It hinders tuning only, and no other job."""
    return [text for key, dimension in space.items() for text in _misfits(key, dimension, sections)]


def holds_integers(key: str, sections: Sections) -> bool:
    """Whether a key holds whole numbers."""
    return _annotation(key, sections) is int


def accepted(key: str, value: Any, sections: Sections) -> Any:
    """A value of a key as the configuration would hold it, in JSON's types.

    Errors: ValidationError when it would be refused.
    """
    section, _, name = key.partition(".")
    plain = sections[section].model_dump()
    return type(sections[section]).model_validate({**plain, name: value}).model_dump(mode="json")[name]


def configured(key: str, sections: Sections) -> Any:
    """The configured value of a key, in JSON's types."""
    section, _, name = key.partition(".")
    return sections[section].model_dump(mode="json")[name]


def _annotation(key: str, sections: Sections) -> Any:
    section, _, name = key.partition(".")
    return type(sections[section]).model_fields[name].annotation


def _problems(key: str, dimension: Dimension, sections: Sections) -> Iterator[str]:
    known = [
        f"{section}.{name}"
        for section, values in sections.items()
        for name in type(values).model_fields
        if name not in CARRIED_OUT_BY
    ]
    if key not in known:
        yield f"a key of model or training that a network depends on; nearest: {get_close_matches(key, known, 1, 0)[0]}"
    elif shape := _shape_problem(dimension, _annotation(key, sections)):
        yield shape
    else:
        refusals = (_refusal(key, value, sections, alone=True) for value in _tried(key, dimension, sections))
        yield from filter(None, refusals)


def _shape_problem(dimension: Dimension, annotation: Any) -> str | None:
    """The first thing that is wrong with a dimension by itself, for a key of that type."""
    low, high, step = dimension.low, dimension.high, dimension.step or 1
    if dimension.choices is not None:
        alone = dimension == Dimension(choices=dimension.choices)
        return None if alone and len(dimension.choices) > 1 else "at least two choices and nothing else"
    if low is None or high is None:
        return "low and high, or choices"
    if annotation not in (int, float):
        return "choices, since this key holds no number"
    if not low < high:
        return f"low ({low:g}) below high ({high:g})"
    if dimension.log and (low <= 0 or dimension.step):
        return "low above 0 and no step, with log"
    if annotation is float:
        return "no step, since this key holds fractions" if dimension.step else None
    if not low.is_integer() or not high.is_integer() or (high - low) % step:
        return f"whole numbers, and high a multiple of step ({step}) above low"
    return None


def _misfits(key: str, dimension: Dimension, sections: Sections) -> Iterator[str]:
    tried = _tried(key, dimension, sections)
    refusals = [refusal for value in tried if (refusal := _refusal(key, value, sections, alone=False))]
    yield from refusals
    now = configured(key, sections)
    if not refusals and not _holds(now, dimension, [accepted(key, value, sections) for value in tried]):
        yield f"{key} leaves out the configured {now!r}"


def _refusal(key: str, value: Any, sections: Sections, *, alone: bool) -> str | None:
    """Why a value is refused, if it is: by its own key ``alone``, or because it contradicts other keys."""
    try:
        accepted(key, value, sections)
    except ValidationError as problem:
        error = problem.errors()[0]
        if bool(error["loc"]) == alone:
            reason = str(error["msg"]).removeprefix("Value error, ")
            if alone:
                return f"values that {key} may have, and {value!r} is not one: {reason}"
            return f"{key}={value!r} needs {reason}"
    return None


def _holds(value: Any, dimension: Dimension, found: list[Any]) -> bool:
    if dimension.choices is not None:
        return value in found
    on_a_step = dimension.step is None or (value - found[0]) % dimension.step == 0
    return bool(found[0] <= value <= found[-1] and on_a_step)


def _tried(key: str, dimension: Dimension, sections: Sections) -> list[Any]:
    """Values that stand for all of a dimension: the choices; or both ends, and the step after the lowest."""
    if dimension.choices is not None or dimension.low is None or dimension.high is None:
        return list(dimension.choices or ())
    if not holds_integers(key, sections):
        return [dimension.low, dimension.high]
    low, high = int(dimension.low), int(dimension.high)
    return [low, low + (dimension.step or 1), high]
