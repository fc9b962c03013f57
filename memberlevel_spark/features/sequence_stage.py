"""What the stage features does besides windows: it fits or loads the vocabulary and writes the event sequences."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import reduce
from pathlib import Path

from pyspark.sql import DataFrame

from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.features.event_sequences import LAYOUT, build_event_sequences
from memberlevel_spark.features.recent_events import (
    SequencePlan,
    build_entries,
    build_event_values,
    build_recent_events,
)
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.run import Run
from memberlevel_spark.schemas import MEMBER_EVENT_SEQUENCES
from memberlevel_spark.tables import Written

SEQUENCES_STAMP = "event_sequences"
EVENT_NAMES = ("event_category", "event_channel")


def vocabulary_path(run: Run) -> Path:
    """Where the vocabulary of the present features is kept."""
    return run.shop_dir / "runs" / "features" / "vocabulary.json"


def vocabulary_names(run: Run) -> tuple[str, ...]:
    """The columns that need a vocabulary by the configuration."""
    return EVENT_NAMES if run.config.features.sequence_events else ()


def vocabulary_of(run: Run, frames: Mapping[str, DataFrame]) -> Vocabulary:
    """Fitted on the training dates by a full run, which keeps it; the kept one for a run of single dates.

    Errors: ArtefactError when single dates are asked for and none is kept, or the kept one has not all columns.
    """
    path, names = vocabulary_path(run), vocabulary_names(run)
    if run.as_of_dates is None:
        vocabulary = _fitted(run, frames)
        if names:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(vocabulary.to_json(), encoding="utf-8")
        return vocabulary
    if not names:
        return _fitted(run, frames)
    if not path.is_file():
        raise ArtefactError(f"the vocabulary of the features is missing: {path}. Run features without --as-of.")
    kept = Vocabulary.from_json(path.read_text(encoding="utf-8"))
    lacking = set(names) - set(kept.entries)
    if lacking:
        raise ArtefactError(
            f"the vocabulary lacks columns of this configuration: {first_five(lacking)}. Run features without --as-of."
        )
    return kept


def write_event_sequences(
    run: Run, frames: Mapping[str, DataFrame], vocabulary: Vocabulary, *, dates: tuple[date, ...]
) -> Written:
    """Write ``member_event_sequences`` of the dates.

    Errors: ArtefactError when dates are added to a table whose sequences mean something else.
    """
    features = run.config.features
    plan = SequencePlan(
        as_of_dates=tuple(sorted(dates)),
        num_events=features.sequence_events,
        zone=run.config.timeline.business_zone,
        num_buckets=features.product_buckets,
        categories=vocabulary.entries["event_category"],
        channels=vocabulary.entries["event_channel"],
    )
    meaning = {
        "vocabulary": vocabulary.version,
        "num_events": plan.num_events,
        "num_buckets": plan.num_buckets,
        "zone": plan.zone,
        "layout": LAYOUT,
    }
    _require_same_sequences(run, meaning)
    recent = build_recent_events(frames["events"], plan, frames.get("products"))
    sequences = build_event_sequences(frames["members"], recent, plan)
    stamped = replace(run, tables=run.tables.with_stamp(**{SEQUENCES_STAMP: meaning}))
    return stamped.write_dates(MEMBER_EVENT_SEQUENCES, sequences, dates)


def _fitted(run: Run, frames: Mapping[str, DataFrame]) -> Vocabulary:
    """Later dates have no say, so that what validation and test brought is as unknown as it was."""
    config, through = run.config.features, max(run.config.timeline.split.train)
    values: list[DataFrame] = []
    if config.sequence_events:
        values.append(build_event_values(frames["events"], frames.get("products"), through=through))
    if not values:
        return Vocabulary(through, {})
    limits = config.vocabulary
    entries = build_entries(
        reduce(DataFrame.unionByName, values), min_count=limits.min_count, max_entries=limits.max_entries
    )
    return Vocabulary.of(through, [tuple(row) for row in entries.collect()], vocabulary_names(run))


def _require_same_sequences(run: Run, meaning: Mapping[str, object]) -> None:
    if run.as_of_dates is None:
        return
    stamps = [
        c.stamp[SEQUENCES_STAMP] for c in run.tables.commits("member_event_sequences") if SEQUENCES_STAMP in c.stamp
    ]
    held = stamps[0] if stamps else meaning
    other = [
        f"{name} {held.get(name)} in the table, {value} now"
        for name, value in meaning.items()
        if held.get(name) != value
    ]
    if other:
        raise ArtefactError(
            f"event sequences of single dates would not mean what the table's mean: {first_five(other)}."
            " Run features without --as-of, or with the configuration and vocabulary the table was made with."
        )
