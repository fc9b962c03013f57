"""The configuration of one shop, as frozen models; `conf/base.yaml` documents every key with its unit."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from memberlevel_spark.config.base import IDENTIFIER, Model
from memberlevel_spark.config.evaluation import EvaluationConfig, protected_problems
from memberlevel_spark.config.ingest import IngestConfig, PseudonymConfig, QualityConfig, SourceConfig
from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.config.monitoring import MonitoringConfig
from memberlevel_spark.config.training import TrainingConfig
from memberlevel_spark.config.tuning import TuningConfig, space_problems
from memberlevel_spark.config.world import WorldConfig
from memberlevel_spark.timeline import LabelWindow, Split, every, steps_after

Share = Field(ge=0, le=1)
# What a map to members gives beside attributes.
NO_ATTRIBUTE = frozenset({"member_id", "valid_from", "received_ts"})
ModelName = Literal["linear", "logistic", "svm", "mlp", "cnn", "lstm", "gru", "transformer", "fusion"]
ModelInput = Literal["features", "weeks", "events"]
Pretraining = Literal["masked", "next", "contrastive"]
LevelHead = Literal["rules", "gate", "softmax", "ordinal"]
SpendHead = Literal["mixture", "lognormal"]
CalibratedHead = Literal["level", "p_buy", "spend"]


class MoneyConfig(Model):
    """Currency of all amounts; amounts are stored in minor units (cents) as integers.

    ``minor_unit_digits`` is the number of decimals of a minor unit; null takes it from ISO 4217.
    """

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    minor_unit_digits: int | None = Field(default=None, ge=0, le=4)


class TrainDates(Model):
    """Training as-of dates: from ``last`` backwards every ``every_days`` days, none before ``first``.

    With ``refit`` the model that is kept learns once more, also from the dates after ``last`` whose labels are known by
    the test date.
    """

    first: date
    last: date
    every_days: int = Field(ge=1)
    refit: bool = True


class TimelineConfig(Model):
    """When: business zone, end of the data, label windows, as-of dates of training, validation, test and scoring."""

    business_zone: str
    data_through: date
    max_silent_days: int = Field(ge=0)
    gap_days: int = Field(ge=0)
    horizon_days: int = Field(ge=1)
    inactive_days: int | None = Field(default=None, ge=1)
    train: TrainDates
    validation: date
    test: date
    score: tuple[date, ...] = Field(min_length=1)

    @field_validator("business_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError("an IANA time zone such as Europe/Berlin")
        return zone

    @model_validator(mode="after")
    def _dates_in_order(self) -> "TimelineConfig":
        if self.train.first > self.train.last:
            raise ValueError("train.first on or before train.last")
        if not self.train.last < self.validation < self.test:
            raise ValueError("train.last before validation before test")
        if self.inactive_days is not None and self.inactive_days < self.horizon_days:
            raise ValueError(f"inactive_days of at least horizon_days ({self.horizon_days})")
        if max(self.score) > self.data_through:
            raise ValueError(f"score dates on or before data_through ({self.data_through})")
        return self

    @property
    def label(self) -> LabelWindow:
        """The label window in days."""
        return LabelWindow(self.gap_days, self.horizon_days)

    @property
    def inactive(self) -> LabelWindow:
        """The window in which a member without any event becomes inactive: by default twice the horizon."""
        return LabelWindow(self.gap_days, self.inactive_days or 2 * self.horizon_days)

    @property
    def split(self) -> Split:
        """As-of dates of training, validation and test."""
        train = every(self.train.first, self.train.last, self.train.every_days)
        return Split(train, (self.validation,), (self.test,), self._late)

    @property
    def _late(self) -> tuple[date, ...]:
        if not self.train.refit:
            return ()
        days = steps_after(self.train.last, self.label.last_known_by(self.test), self.train.every_days)
        return tuple(day for day in days if day != self.validation)

    @property
    def as_of_dates(self) -> tuple[date, ...]:
        """Every as-of date of a full run, ascending: train, validation, test and score."""
        return tuple(sorted({*self.split.dates, *self.score}))


class MoreFeature(Model):
    """One further feature; ``features/meanings.py`` says what each aggregate takes."""

    measure: str
    aggregate: str
    window_days: int | None = Field(default=None, ge=1)
    plus: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    part: int | None = None
    over_days: int | None = None


class VocabularyConfig(Model):
    """Which texts get an index of their own: met at least ``min_count`` times, at most ``max_entries`` a column."""

    min_count: int = Field(default=10, ge=1)
    max_entries: int = Field(default=200, ge=1, le=100_000)


class FeaturesConfig(Model):
    """Measures of the daily tiles, windows of their sums and counts (days), further features, the days of holidays,
    number of weekly tiles and of events in a sequence, product buckets, vocabularies, attributes of the profiles, and
    whether protected ones among them are read."""

    measures: tuple[str, ...] = Field(min_length=1)
    windows_days: tuple[int, ...] = Field(min_length=1)
    more: tuple[MoreFeature, ...] = ()
    holidays: tuple[date, ...] = ()
    sequence_weeks: int = Field(ge=1)
    # Spark drops rows before the shuffle only up to 1000 a group, one of which is the event before the oldest.
    sequence_events: int = Field(default=0, ge=0, le=999)
    product_buckets: int = Field(default=1024, ge=1, le=1_000_000)
    vocabulary: VocabularyConfig = VocabularyConfig()
    profile: dict[Annotated[str, Field(pattern=IDENTIFIER)], Literal["category", "number"]] = Field(
        default_factory=dict
    )
    allow_protected: bool = False


class ExamplesConfig(Model):
    """How numbers are encoded; number of Parquet files per split, and the rows from which a file is cut in two."""

    numbers: Literal["standard", "quantile"]
    files_per_split: int = Field(ge=1)
    rows_per_file: int = Field(ge=1)


class ModelConfig(Model):
    """The network: ``models/spec.py`` says what each name is and reads, ``models/pretraining.py`` what each task is;
    how many categories the first order to come is told among; and which heads are calibrated."""

    name: ModelName
    reads: tuple[ModelInput, ...]
    level_head: LevelHead
    spend_head: SpendHead
    hidden: tuple[int, ...]
    periodic: int = Field(ge=0, le=64)
    week_channels: int = Field(default=16, ge=4, le=256, multiple_of=4)
    dropout: float = Field(ge=0, lt=1)
    next_categories: int = Field(default=0, ge=0, le=200)
    components: int = Field(default=0, ge=0, le=1000)
    pretraining: Pretraining | None
    frozen: bool
    calibration: tuple[CalibratedHead, ...]


class LeakageConfig(Model):
    """What the job leakage_check looks at: members of its sample, the AUC of one feature alone from which it alarms,
    rows of a class below which an AUC says nothing, training rows of the shuffled-label probe."""

    sample_members: int = Field(ge=1)
    max_feature_auc: float = Field(gt=0.5, le=1)
    min_class_rows: int = Field(ge=1)
    probe_rows: int = Field(ge=100)


class RegistryConfig(Model):
    """Where bundles and aliases are, besides the shop's own folder: the URL of a store that machines share, and the
    MLflow that mirrors them."""

    url: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9+.-]*://\S+$")
    mlflow_uri: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9+.-]*:\S+$")

    @field_validator("url", "mlflow_uri")
    @classmethod
    def _without_password(cls, url: str | None) -> str | None:
        """A URL is told in logs and written into every bundle."""
        if url is not None and urlsplit(url).password is not None:
            raise ValueError("a URL without a password; secrets come from the environment")
        return url


class GateConfig(Model):
    """What the gate lets pass: nats of log-loss behind the boosted tree, calibration error above what chance explains,
    share of right levels behind persistence in any slice."""

    boosted_tree_margin: float = Field(ge=0)
    max_ece: float = Field(ge=0)
    max_slice_lag: float = Field(ge=0)


class VariantConfig(Model):
    """A model to compare with the configured one: what differs."""

    name: ModelName | None = None
    reads: tuple[ModelInput, ...] | None = None
    level_head: LevelHead | None = None
    spend_head: SpendHead | None = None
    hidden: tuple[int, ...] | None = None
    periodic: int | None = Field(default=None, ge=0, le=64)
    week_channels: int | None = Field(default=None, ge=4, le=256, multiple_of=4)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    next_categories: int | None = Field(default=None, ge=0, le=200)
    components: int | None = Field(default=None, ge=0, le=1000)
    pretraining: Pretraining | None = None
    frozen: bool | None = None


class ExperimentsConfig(Model):
    """What the job experiments compares: test dates back from ``timeline.test`` and the days between them, seeds of
    each, resamples of the intervals, processes that train side by side, variants on every so many test dates, and
    shares of the members for the learning curve."""

    num_tests: int = Field(ge=1)
    every_days: int = Field(ge=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    num_resamples: int = Field(ge=0)
    processes: int = Field(ge=1)
    variants: dict[Annotated[str, Field(pattern=IDENTIFIER)], VariantConfig]
    variants_every: int = Field(ge=1)
    learning_curve_shares: tuple[Annotated[float, Field(gt=0, le=1)], ...]

    @field_validator("variants", mode="before")
    @classmethod
    def _without_null(cls, variants: object) -> object:
        """A file laid over another one leaves out a variant of it by null."""
        if not isinstance(variants, dict):
            return variants
        return {name: variant for name, variant in variants.items() if variant is not None}


class CompressionConfig(Model):
    """What the job compress makes beside the model: pruned ones, by the share of weights that become 0, and students
    with these hidden layers; and how many times the speed of each is measured."""

    pruned_shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...]
    student_hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    num_timings: int = Field(ge=1)


class ScoringConfig(Model):
    """Which Spark path applies the model; how many members are scored as in training too, and kept scores computed
    anew; for which share of the members reasons are kept, and the points of the integral that each takes; the chance
    from which a level counts as likely in the advice."""

    method: Literal["map_in_arrow", "pandas_udf"]
    proof_members: int = Field(ge=1, le=100_000)
    reasons_share: float = Field(ge=0, le=1)
    reasons_steps: int = Field(ge=4, le=512)
    likely: float = Field(gt=0, lt=1)


class ServingConfig(Model):
    """The service that answers for single members: seconds after which the champion and the tables are looked at again,
    and the largest body of a request in bytes."""

    refresh_seconds: float = Field(gt=0, le=3600)
    max_body_bytes: int = Field(ge=1_000, le=100_000_000)


class ReportConfig(Model):
    """Title of the report and how many members it lists as likely to move."""

    title: str
    num_movers: int = Field(ge=0, le=1000)


class SparkConfig(Model):
    """Session settings; ``master`` is only used when no cluster manager has set one."""

    master: str
    conf: dict[str, str]

    @field_validator("conf", mode="before")
    @classmethod
    def _settings_are_text(cls, conf: object) -> object:
        """Spark takes text only; YAML reads 5 as a number and true as a boolean."""
        if not isinstance(conf, dict):
            return conf
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in conf.items()}


class Config(Model):
    """Everything that defines a run."""

    name: str = Field(pattern=IDENTIFIER)
    output_dir: Path
    seed: int
    money: MoneyConfig
    timeline: TimelineConfig
    sources: dict[str, SourceConfig] = Field(min_length=1)
    pseudonyms: PseudonymConfig
    ingest: IngestConfig
    quality: QualityConfig
    levels: LevelsConfig
    features: FeaturesConfig
    examples: ExamplesConfig
    model: ModelConfig
    training: TrainingConfig
    tuning: TuningConfig
    evaluation: EvaluationConfig
    gate: GateConfig
    registry: RegistryConfig = RegistryConfig()
    experiments: ExperimentsConfig
    compression: CompressionConfig
    leakage: LeakageConfig
    scoring: ScoringConfig
    serving: ServingConfig
    monitoring: MonitoringConfig
    report: ReportConfig
    spark: SparkConfig
    world: WorldConfig | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        if not any(mapping.to == "events" for source in self.sources.values() for mapping in source.maps):
            raise ValueError("at least one source that maps to events")
        return self

    @model_validator(mode="after")
    def _space_is_of_this_configuration(self) -> "Config":
        problems = space_problems(self.tuning.space, {"model": self.model, "training": self.training})
        if problems:
            raise _refusals([(("tuning", "space", key), text, self.tuning.space[key]) for key, text in problems])
        return self

    @model_validator(mode="after")
    def _protected_attributes_are_of_the_profiles(self) -> "Config":
        maps = [mapping for source in self.sources.values() for mapping in source.maps]
        attributes = {name for mapping in maps if mapping.to == "members" for name in mapping.columns} - NO_ATTRIBUTE
        problems = protected_problems(self.evaluation, attributes, reweighing=self.training.reweighing)
        if problems:
            raise _refusals([(tuple(key.split(".")), text, found) for key, text, found in problems])
        return self

    @property
    def profile_read(self) -> dict[str, str]:
        """The attributes of the profiles that models read: protected ones only where ``allow_protected`` says so."""
        left_out = () if self.features.allow_protected else self.evaluation.protected
        return {name: kind for name, kind in self.features.profile.items() if name not in left_out}

    @property
    def shop_dir(self) -> Path:
        """Where everything of this shop is written: ``<output_dir>/<name>``."""
        return self.output_dir / self.name


def _refusals(problems: Sequence[tuple[tuple[str, ...], str, Any]]) -> ValidationError:
    """Key, what is expected and what was found, in pydantic's own form, so that each is told with its key."""
    told = [
        InitErrorDetails(type=PydanticCustomError("misfit", "{text}", {"text": text}), loc=key, input=found)
        for key, text, found in problems
    ]
    return ValidationError.from_exception_data("Config", told)
