"""The stages labels and examples."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.config.model import ModelConfig
from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.examples.build import (
    KEY,
    Groups,
    build_examples,
    examples_contract,
    join_features,
    join_labels,
    level_needs,
    model_inputs,
)
from memberlevel_spark.examples.components import build_moments, components_of
from memberlevel_spark.examples.encoder import Encoder, input_tables
from memberlevel_spark.examples.event_inputs import NUM_HOURS, NUM_WEEKDAYS, EventInputs
from memberlevel_spark.examples.group_numbers import build_groups
from memberlevel_spark.examples.labels import LabelWindows, build_labels, build_order_lines
from memberlevel_spark.examples.next_category import build_next_categories
from memberlevel_spark.examples.profile import Numbers, Profile, build_counts, encoded_rows, profiles_of
from memberlevel_spark.features.groups import with_groups
from memberlevel_spark.features.sequence_stage import sequences_meaning
from memberlevel_spark.features.stage import features_of, measures_of, published_meaning
from memberlevel_spark.features.vocabulary import FIRST_ENTRY
from memberlevel_spark.features.vocabulary_stage import breakdowns_of, kept_vocabulary, profile_of
from memberlevel_spark.feed.fields import group_column
from memberlevel_spark.ingest.canonical import EVENT_TYPES
from memberlevel_spark.levels.stage import level_rules, read_levels
from memberlevel_spark.models.spec import EVENTS, Components, inputs_of
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import MEMBER_LABELS

# More rows move no quantile by anything that matters, and all different values of these are held in memory.
QUANTILE_ROWS = 200_000


def run_labels(run: Run) -> StageResult:
    """Write ``member_labels`` of the run's as-of dates. Errors: LeakageError for dates whose window is not complete."""
    timeline = run.config.timeline
    dates = run.as_of_dates or timeline.split.dates
    timeline.label.require_mature(dates, timeline.data_through)
    bought = ("events", "products") if run.tables.exists("products") else ()
    read = {name: run.tables.version(name) for name in ("member_features", "member_days", "member_levels", *bought)}
    population, member_days = (run.tables.read(name, read[name]) for name in ("member_features", "member_days"))
    member_levels = read_levels(run, read["member_levels"])
    lines = build_order_lines(*(run.tables.read(name, read[name]) for name in bought)) if bought else None
    windows = LabelWindows(timeline.label, timeline.inactive, timeline.data_through)
    labels = build_labels(population, member_days, member_levels, dates=dates, windows=windows, order_lines=lines)
    commit = run.write_dates(MEMBER_LABELS, labels, dates)
    expected = population.where(F.col("as_of_date").isin(list(dates))).count()
    return StageResult(RowCounts(expected, commit.rows), read, {"member_labels": commit.version}, f"{len(dates)} dates")


def encoder_path(run: Run) -> Path:
    """Where the encoder of the current examples is kept."""
    return run.shop_dir / "runs" / "examples" / "encoder.json"


def run_examples(run: Run) -> StageResult:
    """Fit the encoder on the training dates, write ``examples`` and the encoder that made them."""
    config = run.config
    config.timeline.split.require_embargo(config.timeline.label)
    events = event_inputs(run) if reads_events(config.model) else None
    read = {name: run.tables.version(name) for name in (*input_tables(events), "member_labels")}
    *tables, labels = (run.tables.read(name, version) for name, version in read.items())
    labelled = join_labels(join_features(*tables), labels, config.timeline.split)
    labelled, groups = _with_groups(run, read, labelled)
    training_rows = labelled.where(F.col("split") == "train")
    encoder = fit_encoder(run, training_rows, events, [config.model])
    examples = build_examples(labelled, encoder, files_per_split=config.examples.files_per_split, groups=groups)
    contract = examples_contract(encoder, groups=groups)
    commit = run.tables.replace(contract, examples, rows_per_file=config.examples.rows_per_file)
    path = encoder_path(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = _training_profile(training_rows, encoder).to_json()
    record = {"examples_version": commit.version, "encoder": encoder.to_json(), "profile": profile}
    path.write_text(json.dumps(record), encoding="utf-8")
    in_split = labels.where(F.col("as_of_date").isin(list(config.timeline.split.dates))).count()
    of_events = f", {events.num_events} events" if events else ""
    of_categories = f", {len(encoder.next_categories)} next categories" if encoder.next_categories else ""
    of_groups = f", {len(groups.names)} groups of {config.training.reweighing} weighed" if groups else ""
    note = f"{len(encoder.names)} features{of_events}{of_categories}{of_groups}, train/validation/test by date"
    return StageResult(RowCounts(in_split, commit.rows), read, {"examples": commit.version}, note)


def _with_groups(run: Run, read: dict[str, int], labelled: DataFrame) -> tuple[DataFrame, Groups | None]:
    """The rows beside the group by which training weighs them; as they are where it does not."""
    attribute = run.config.training.reweighing
    if attribute is None:
        return labelled, None
    read["members"] = run.tables.version("members")
    grouped = with_groups(labelled, run.tables.read("members", read["members"]), [attribute])
    training_rows, column = grouped.where(F.col("split") == "train"), group_column(attribute)
    large = build_groups(training_rows, column, min_members=run.config.evaluation.min_group_members)
    return grouped, Groups(column, tuple(row["group"] for row in large.collect()))


def reads_events(model: ModelConfig) -> bool:
    """Whether the configured network reads the last events."""
    return EVENTS in inputs_of(model.name, model.reads)


def event_inputs(run: Run) -> EventInputs:
    """How the events of the present sequences are read. Errors: ConfigError in a shop without sequences of events."""
    meaning, features = sequences_meaning(run), run.config.features
    if meaning is None or not features.sequence_events:
        raise ConfigError(
            f"the model reads events, and there are none: features.sequence_events is {features.sequence_events}. Set"
            " it and run the stage features, or choose a model that reads none."
        )
    entries = kept_vocabulary(run).entries
    texts = (len(entries[f"event_{name}"]) + FIRST_ENTRY for name in ("category", "channel"))
    sizes = (len(EVENT_TYPES) + 1, *texts, features.product_buckets + 1, NUM_HOURS + 1, NUM_WEEKDAYS + 1)
    return EventInputs(features.sequence_events, sizes, meaning)


def fit_encoder(
    run: Run, training_rows: DataFrame, events: EventInputs | None, models: Sequence[ModelConfig]
) -> Encoder:
    """The encoder of the shop's features, fitted on these rows, with what each of these models asks of it: the most
    frequent of the next categories, and principal components.

    Errors: ArtefactError when there are no rows; ConfigError when next categories are asked for and no row has one.
    """
    weeks, profile, rules = run.config.features.sequence_weeks, profile_of(run), level_rules(run)
    inputs = model_inputs(
        features_of(run), rules, measures_of(run), weeks, profile=profile, breakdowns=breakdowns_of(run)
    )
    numbers, needs = run.config.examples.numbers, level_needs(rules)
    rows = _some(training_rows) if numbers == "quantile" else training_rows
    encoder = Encoder.fit(rows, inputs, rules.num_levels, needs=needs, events=events, numbers=numbers)
    encoder.require_meaning(published_meaning(run))
    num_categories = max(model.next_categories for model in models)
    num_components = max(model.components for model in models)
    return replace(
        encoder,
        next_categories=_next_categories(training_rows, num_categories),
        components=_components(training_rows, encoder, num_components),
    )


def _components(training_rows: DataFrame, encoder: Encoder, asked: int) -> Components:
    if not asked:
        return ()
    encoded = training_rows.select(encoder.encode().alias("features"))
    return components_of(build_moments(encoded, num_elements=encoder.num_scaled).collect(), asked)


def _next_categories(training_rows: DataFrame, asked: int) -> tuple[str, ...]:
    if not asked:
        return ()
    found = tuple(row["category"] for row in build_next_categories(training_rows, asked).collect())
    if not found:
        raise ConfigError(
            f"the next category is to be forecast, and no order of the training dates has one: model.next_categories is"
            f" {asked}. Map products with a category and run the stages from silver on, or set it to 0."
        )
    return found


def _some(training_rows: DataFrame) -> DataFrame:
    """About ``QUANTILE_ROWS`` of them where there are more, the same ones every time."""
    every = -(-training_rows.count() // QUANTILE_ROWS)
    return training_rows.where(F.pmod(F.xxhash64(*KEY), F.lit(every)) == 0) if every > 1 else training_rows


def _training_profile(training_rows: DataFrame, encoder: Encoder) -> Profile:
    numbers = Numbers.of(encoder)
    counted = build_counts(encoded_rows(training_rows, encoder, F.lit("train")), numbers).collect()
    return profiles_of(map(tuple, counted), numbers)["train"]


def load_encoder(run: Run, examples_version: int) -> Encoder:
    """The encoder that made one version of ``examples``. Errors: ArtefactError when it made another one."""
    return Encoder.from_json(_load_record(run, examples_version)["encoder"])


def load_profile(run: Run, examples_version: int) -> Profile:
    """What the training rows of one version of ``examples`` look like.

    Errors: ArtefactError when the encoder made another one, or is of before there were profiles.
    """
    return Profile.from_json(_load_record(run, examples_version).get("profile", "null"))


def _load_record(run: Run, examples_version: int) -> dict[str, Any]:
    path = encoder_path(run)
    if not path.is_file():
        raise ArtefactError(f"the encoder of the examples is missing: {path}. Run the stage examples.")
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["examples_version"] != examples_version:
        raise ArtefactError(
            f"the encoder belongs to other examples: version {record['examples_version']}, the table is at"
            f" {examples_version}. Run the stage examples again."
        )
    return dict(record)
