"""The vocabulary of a shop's features: fitted by a full run, kept as a file, loaded for single dates."""

from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import DataFrame

from memberlevel_spark.config import Config
from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.features.breakdowns import Breakdown, declared_breakdowns
from memberlevel_spark.features.point_in_time import configured_features
from memberlevel_spark.features.profiles import ProfileFeature, profile_features
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.features.vocabulary_entries import build_vocabulary, vocabulary_names
from memberlevel_spark.run import Run, Shop


def vocabulary_path(shop: Shop) -> Path:
    """Where the vocabulary of the present features is kept."""
    return shop.shop_dir / "runs" / "features" / "vocabulary.json"


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


def kept_vocabulary(shop: Shop) -> Vocabulary:
    """The vocabulary of the last full run; an empty one for a configuration that needs none.

    Errors: ArtefactError when it is missing, damaged, or has not all columns.
    """
    path, names = vocabulary_path(shop), vocabulary_names(shop.config)
    if not names:
        return Vocabulary(max(shop.config.timeline.split.train), {})
    if not path.is_file():
        raise ArtefactError(f"the vocabulary of the features is missing: {path}. Run features without --as-of.")
    kept = Vocabulary.from_json(path.read_text(encoding="utf-8"))
    lacking = set(names) - set(kept.entries)
    if lacking:
        raise ArtefactError(
            f"the vocabulary lacks columns of this configuration: {first_five(lacking)}. Run features without --as-of."
        )
    return kept


def profile_of(shop: Shop, vocabulary: Vocabulary | None = None) -> tuple[ProfileFeature, ...]:
    """The profile features of the configuration, by the kept vocabulary where none is given."""
    declared = shop.config.profile_read
    if not declared:
        return ()
    return profile_features(declared, kept_vocabulary(shop) if vocabulary is None else vocabulary)


def breakdowns_of(shop: Shop, vocabulary: Vocabulary | None = None) -> tuple[Breakdown, ...]:
    """The breakdowns that features of the configuration speak of, by the kept vocabulary where none is given."""
    declared = configured_features(shop.config)
    if not declared_breakdowns(declared):
        return ()
    return declared_breakdowns(declared, kept_vocabulary(shop) if vocabulary is None else vocabulary)


def fitted_vocabulary(frames: Mapping[str, DataFrame], config: Config) -> Vocabulary:
    """The vocabulary of these tables; empty where no column needs one."""
    entries = build_vocabulary(frames, config)
    rows = [] if entries is None else [tuple(row) for row in entries.collect()]
    return Vocabulary.of(max(config.timeline.split.train), rows, vocabulary_names(config))
