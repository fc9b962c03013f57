"""The part of the stage features that writes the event sequences."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from pyspark.sql import DataFrame

from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.features.event_sequences import LAYOUT, build_event_sequences
from memberlevel_spark.features.recent_events import SequencePlan, build_recent_events
from memberlevel_spark.features.vocabulary import Vocabulary
from memberlevel_spark.run import Run
from memberlevel_spark.schemas import MEMBER_EVENT_SEQUENCES
from memberlevel_spark.tables import Written

SEQUENCES_STAMP = "event_sequences"


def sequence_plan(run: Run, vocabulary: Vocabulary, dates: tuple[date, ...]) -> SequencePlan | None:
    """What the event sequences of the dates are; None for a configuration without.

    Errors: ArtefactError when dates would be added to a table whose sequences mean something else.
    """
    if not run.config.features.sequence_events:
        return None
    plan = SequencePlan.of(run.config, vocabulary, dates)
    if run.as_of_dates is not None:
        _require_same(run, _meaning(plan, vocabulary))
    return plan


def write_event_sequences(
    run: Run, frames: Mapping[str, DataFrame], plan: SequencePlan, vocabulary: Vocabulary
) -> Written:
    """Write ``member_event_sequences`` of the plan's dates; the commit says what its numbers mean."""
    recent = build_recent_events(frames["events"], plan, frames.get("products"))
    sequences = build_event_sequences(frames["members"], recent, plan)
    stamped = replace(run, tables=run.tables.with_stamp(**{SEQUENCES_STAMP: _meaning(plan, vocabulary)}))
    return stamped.write_dates(MEMBER_EVENT_SEQUENCES, sequences, plan.as_of_dates)


def _meaning(plan: SequencePlan, vocabulary: Vocabulary) -> dict[str, object]:
    return {
        "vocabulary": vocabulary.version,
        "num_events": plan.num_events,
        "num_buckets": plan.num_buckets,
        "zone": plan.zone,
        "layout": LAYOUT,
    }


def sequences_meaning(run: Run) -> str | None:
    """Digest of what the numbers of ``member_event_sequences`` mean; None where there is no such table."""
    held = _published(run) if run.tables.exists(MEMBER_EVENT_SEQUENCES.name) else {}
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16] if held else None


def _published(run: Run) -> Mapping[str, object]:
    """What its newest stamped commit says that the numbers mean."""
    commits = run.tables.commits(MEMBER_EVENT_SEQUENCES.name)
    return next((commit.stamp[SEQUENCES_STAMP] for commit in commits if SEQUENCES_STAMP in commit.stamp), {})


def _require_same(run: Run, meaning: Mapping[str, object]) -> None:
    held = _published(run) or meaning
    other = [f"{name} {held.get(name)} there, {here} here" for name, here in meaning.items() if held.get(name) != here]
    if other:
        raise ArtefactError(
            f"the event sequences of the table mean something else: {first_five(other)}. Run features without --as-of,"
            " or with the configuration and the vocabulary that the table was made with."
        )
