"""Configuration of the ingest: sources, quality rules, pseudonyms and the clean-up of events."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from memberlevel_spark.config.base import IDENTIFIER, Model

MIN_KEY_BYTES = 32  # of the pseudonym key
CANONICAL_TABLES = ("events", "members", "products", "devices", "rates")
CanonicalTable = Literal["events", "members", "products", "devices", "rates"]


class MapConfig(Model):
    """One way from a source row to a row of a canonical table: ``canonical column: Spark SQL expression``."""

    to: CanonicalTable
    where: str | None = None
    columns: dict[str, str]


class SourceConfig(Model):
    """One input: a Spark reader, what its values mean, and the canonical rows made of it.

    ``time_zone`` is the zone of timestamps that carry none; ``currency`` that of amounts without one (null: the
    shop's); ``event_types`` translates the source's words, ``ignore`` leaves a row out.
    """

    format: str
    path: str | None = None
    options: dict[str, str] = Field(default_factory=dict)
    read_schema: str | None = Field(default=None, alias="schema")
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    time_zone: str = "UTC"
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    amounts_in: Literal["major", "minor"] = "major"
    event_types: dict[str, str] = Field(default_factory=dict)
    maps: tuple[MapConfig, ...] = Field(min_length=1)


class PseudonymConfig(Model):
    """How member ids leave ingest: ``hmac_sha256`` with a key of 32 bytes or more, or ``off`` for public ids."""

    method: Literal["hmac_sha256", "off"]
    key_id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")
    key: SecretStr | None = None
    key_file: Path | None = None


class RuleConfig(Model):
    """One quality rule: an expression every good row of a canonical table satisfies, and what happens otherwise.

    ``warn`` counts, ``flag`` keeps the event but leaves it out of the daily tiles, ``quarantine`` sets the row aside,
    ``fail`` stops the run. ``max_share`` is the share of rows that may break the rule before the run stops; null is no
    limit, except for ``fail``, where it is 0.
    """

    name: str = Field(pattern=IDENTIFIER)
    table: Literal["events", "members", "products", "devices", "rates", "member_day"]
    expression: str = Field(min_length=1)
    severity: Literal["warn", "flag", "quarantine", "fail"]
    max_share: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _severity_fits_the_table(self) -> "RuleConfig":
        if self.severity == "flag" and self.table not in ("events", "member_day"):
            raise ValueError("severity flag only for rules on events and member_day")
        if self.table == "member_day" and self.severity != "flag":
            raise ValueError("severity flag for a rule on member_day")
        return self

    @property
    def limit(self) -> float | None:
        """The largest share of broken rows the run accepts, None for any."""
        return 0.0 if self.severity == "fail" and self.max_share is None else self.max_share


class QualityConfig(Model):
    """Which rows are set aside, and how many may be before the run stops."""

    max_quarantine_share: float = Field(ge=0, le=1)
    max_future_days: float | None = Field(default=None, ge=0)
    rules: tuple[RuleConfig, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> "QualityConfig":
        names = [rule.name for rule in self.rules]
        if len(names) != len(set(names)):
            raise ValueError("rules with different names")
        return self


class IngestConfig(Model):
    """How files arrive and how events are tidied."""

    files_per_batch: int = Field(ge=1)
    late_days: int | None = Field(default=None, ge=0)
    session_gap_minutes: int | None = Field(default=None, ge=1)
    max_rate_age_days: int = Field(ge=0, le=31)
    max_text_chars: int = Field(ge=1)
