"""The vocabulary of a shop's features: fitted by a full run, kept as a file, loaded for single dates."""

from collections.abc import Mapping
from functools import reduce
from pathlib import Path

from pyspark.sql import DataFrame

from memberlevel_spark.config import Config
from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.features.profiles import ProfileFeature, build_profile_values, profile_features
from memberlevel_spark.features.recent_events import build_entries, build_event_values
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.run import Run

EVENT_NAMES = ("event_category", "event_channel")


def vocabulary_path(run: Run) -> Path:
    """Where the vocabulary of the present features is kept."""
    return run.shop_dir / "runs" / "features" / "vocabulary.json"


def vocabulary_of(run: Run, frames: Mapping[str, DataFrame]) -> Vocabulary:
    """Fitted on the training dates by a full run, which keeps it; the kept one for a run of single dates.

    Errors: ArtefactError when single dates are asked for and none is kept, or the kept one has not all columns.
    """
    if run.as_of_dates is not None:
        return kept_vocabulary(run)
    vocabulary = fitted_vocabulary(frames, run.config)
    if vocabulary.entries:
        path = vocabulary_path(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(vocabulary.to_json(), encoding="utf-8")
    return vocabulary


def kept_vocabulary(run: Run) -> Vocabulary:
    """The vocabulary of the last full run; an empty one for a configuration that needs none.

    Errors: ArtefactError when it is missing, damaged, or has not all columns.
    """
    path, names = vocabulary_path(run), vocabulary_names(run.config)
    if not names:
        return Vocabulary(max(run.config.timeline.split.train), {})
    if not path.is_file():
        raise ArtefactError(f"the vocabulary of the features is missing: {path}. Run features without --as-of.")
    kept = Vocabulary.from_json(path.read_text(encoding="utf-8"))
    lacking = set(names) - set(kept.entries)
    if lacking:
        raise ArtefactError(
            f"the vocabulary lacks columns of this configuration: {first_five(lacking)}. Run features without --as-of."
        )
    return kept


def profile_of(run: Run, vocabulary: Vocabulary | None = None) -> tuple[ProfileFeature, ...]:
    """The profile features of the configuration, by the kept vocabulary where none is given."""
    declared = run.config.features.profile
    if not declared:
        return ()
    return profile_features(declared, kept_vocabulary(run) if vocabulary is None else vocabulary)


def vocabulary_names(config: Config) -> tuple[str, ...]:
    """The columns that need a vocabulary."""
    of_profile = [f"profile_{attribute}" for attribute in _categories(config)]
    return (*(EVENT_NAMES if config.features.sequence_events else ()), *of_profile)


def build_vocabulary(frames: Mapping[str, DataFrame], config: Config) -> DataFrame | None:
    """The entries with their place, fitted through the last training date; None where no column needs any.

    Later dates have no say, so that what validation and test brought is as unknown as it was.
    """
    through, limits = max(config.timeline.split.train), config.features.vocabulary
    values: list[DataFrame] = []
    if config.features.sequence_events:
        values.append(build_event_values(frames["events"], frames.get("products"), through=through))
    if _categories(config):
        values.append(build_profile_values(frames["members"], _categories(config), through=through))
    if not values:
        return None
    together = reduce(DataFrame.unionByName, values)
    return build_entries(together, min_count=limits.min_count, max_entries=limits.max_entries)


def fitted_vocabulary(frames: Mapping[str, DataFrame], config: Config) -> Vocabulary:
    """The vocabulary of these tables; empty where no column needs one."""
    entries = build_vocabulary(frames, config)
    rows = [] if entries is None else [tuple(row) for row in entries.collect()]
    return Vocabulary.of(max(config.timeline.split.train), rows, vocabulary_names(config))


def _categories(config: Config) -> list[str]:
    return sorted(attribute for attribute, kind in config.features.profile.items() if kind == "category")
