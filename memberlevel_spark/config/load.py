"""Layers of configuration: base.yaml <- <name>.yaml <- further files <- --set <- environment, validated in one go.

All problems are reported at once, each with where the value was set, its dotted key, what was found, what is expected
and, for an unknown key, the nearest valid one.
"""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from memberlevel_spark.config.model import Config
from memberlevel_spark.errors import ConfigError

ENVIRONMENT_PREFIX = "MEMBERLEVEL__"
BASE_NAME = "base.yaml"
SPARK_SETTINGS = "spark.conf."
# Keys whose values no message shows.
SECRETS = ("key", "webhook_url")
Layer = tuple[str, dict[str, Any]]


def load_config(
    path: Path,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    *,
    further: Sequence[Path] = (),
) -> Config:
    """Read ``path`` over the ``base.yaml`` beside it, then the ``further`` files, such as what the job tune found, then
    ``a.b=c`` overrides, then ``MEMBERLEVEL__A__B`` variables.

    Errors: ConfigError with every problem found, one a line.
    """
    environment = os.environ if environment is None else environment
    layers = [_read_yaml(file) for file in (path.with_name(BASE_NAME), path, *further)]
    layers += [("--set", _nested(*_split_override(item))) for item in overrides]
    layers += [_environment_layer(key, value) for key, value in sorted(environment.items()) if _is_ours(key)]
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for layer_name, values in layers:
        _merge(merged, values, layer_name, origin)
    merged.setdefault("name", path.stem)
    try:
        return Config.model_validate(merged)
    except ValidationError as problem:
        raise ConfigError(_explain(problem, origin)) from None


def config_fingerprint(config: Config) -> str:
    """The first 12 hex digits of SHA-256 over the settings that may change a result.

    Secrets, the session settings, the output folder, where training runs, what is tuned and what is checked for leaks,
    how the trained model is made smaller, what the gate asks of it, where it is registered, how it is served, what is
    watched and how many kept scores are computed anew are left out.
    """
    return _digest(config, {})


def training_fingerprint(config: Config) -> str:
    """The same without what moves on every day while the model stays: the end of the data and the dates to score."""
    return _digest(config, {"timeline": {"data_through", "score"}})


def _digest(config: Config, more: Mapping[str, set[str]]) -> str:
    elsewhere: dict[str, bool | set[str]] = {"spark": True, "output_dir": True, "training": {"how", "distillation"}}
    elsewhere |= {"tuning": True, "leakage": True, "compression": True, "gate": True, "registry": True, "serving": True}
    elsewhere |= {"scoring": {"proof_members"}, "monitoring": True, **more}
    if config.world is None:
        # A shop without a world keeps the fingerprint it had before there were worlds.
        elsewhere["world"] = True
    text = json.dumps(config.model_dump(mode="json", by_alias=True, exclude=elsewhere), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def masked_yaml(config: Config) -> str:
    """The merged configuration as YAML, secrets shown as asterisks."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> Layer:
    if not path.is_file():
        near = sorted(other.name for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"there is no configuration file: {path}. Use one of: {', '.join(near) or 'none here'}.")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ConfigError(f"not valid YAML: {path}: {' '.join(str(problem).split())}. Mend the file.") from None
    if not isinstance(values or {}, dict):
        raise ConfigError(f"a configuration file must hold keys and values: {path}. Mend the file.")
    return path.name, values or {}


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice; plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key given twice: {key}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _split_override(item: str) -> tuple[list[str], str]:
    key, equals, value = item.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set needs key=value: {item}. For example --set training.max_epochs=3.")
    section, found, setting = key.strip().partition(SPARK_SETTINGS)
    if found and not section:
        # The names of Spark's own settings have dots in them.
        return [*SPARK_SETTINGS.rstrip(".").split("."), setting], value
    return key.strip().split("."), value


def _is_ours(key: str) -> bool:
    return key.startswith(ENVIRONMENT_PREFIX)


def _environment_layer(key: str, value: str) -> Layer:
    return f"environment {key}", _nested(key[len(ENVIRONMENT_PREFIX) :].lower().split("__"), value)


def _nested(keys: list[str], value: str) -> dict[str, Any]:
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        parsed = value
    result: Any = parsed
    for key in reversed(keys):
        result = {key: result}
    return dict(result)


def _merge(into: dict[str, Any], values: Mapping[str, Any], layer: str, origin: dict[str, str], at: str = "") -> None:
    """Mappings merge key by key; everything else is replaced by the later layer."""
    for key, value in values.items():
        dotted = f"{at}{key}"
        origin[dotted] = layer
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value, layer, origin, f"{dotted}.")
        elif isinstance(value, dict):
            into[key] = {}
            _merge(into[key], value, layer, origin, f"{dotted}.")
        else:
            into[key] = value


def _explain(problem: ValidationError, origin: Mapping[str, str]) -> str:
    lines = [_explain_one(dict(error), origin) for error in problem.errors(include_input=True)]
    return f"the configuration has {len(lines)} problem(s):\n" + "\n".join(f"  - {line}" for line in lines)


def _explain_one(error: dict[str, Any], origin: Mapping[str, str]) -> str:
    dotted = ".".join(str(part) for part in error["loc"])
    where = f"{_layer_of(dotted, origin)}: {dotted or '(whole file)'}"
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        near = difflib.get_close_matches(key, _valid_keys(error["loc"][:-1]), n=1)
        return f"{where}: unknown key. " + (f"Did you mean {near[0]}?" if near else "Remove it.")
    if error["type"] == "missing":
        return f"{where}: missing. Set it; conf/{BASE_NAME} says what it means."
    expected = str(error["msg"]).removeprefix("Value error, ")
    found = "" if isinstance(error["input"], dict | BaseModel) else f"found {_shown(dotted, error['input'])}, "
    return f"{where}: {found}expected: {expected}."


def _shown(dotted: str, value: object) -> str:
    # A URL may hold a password, which is never told.
    return "a secret" if dotted.endswith(SECRETS) else re.sub(r"//[^/\s]*@", "//...@", repr(value))[:80]


def _layer_of(dotted: str, origin: Mapping[str, str]) -> str:
    while dotted and dotted not in origin:
        dotted = dotted.rpartition(".")[0]
    return origin.get(dotted, "configuration")


def _valid_keys(location: Sequence[str | int]) -> list[str]:
    """The keys a section accepts, found by walking the models along the location of an error."""
    model: Any = Config
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _without_none(model.model_fields[str(part)].annotation)
        else:
            arguments = getattr(model, "__args__", (None,))
            model = arguments[-1] if arguments[-1] is not Ellipsis else arguments[0]
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _without_none(annotation: Any) -> Any:
    """The model of a section that may be left out."""
    kinds = [kind for kind in getattr(annotation, "__args__", ()) if kind is not type(None)]
    return kinds[0] if type(None) in getattr(annotation, "__args__", ()) and len(kinds) == 1 else annotation
