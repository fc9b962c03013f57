"""Configuration of the monitoring: from where on a watched value is a warning or an alert, and who is told."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from memberlevel_spark.config.base import Model

WatchedMetric = Literal[
    "feature_psi",
    "feature_ks",
    "feature_js",
    "feature_wasserstein",
    "feature_null_share",
    "feature_new_category_share",
    "score_psi",
    "score_ks",
    "score_js",
    "score_wasserstein",
    "volume_drop",
    "volume_rise",
    "stale_days",
    "schema_differences",
]


class Threshold(Model):
    """Above ``warn`` a value is a warning, above ``alert`` an alert; null is never."""

    warn: float | None
    alert: float | None

    @model_validator(mode="after")
    def _warns_first(self) -> "Threshold":
        if self.warn is not None and self.alert is not None and self.warn > self.alert:
            raise ValueError(f"warn of at most alert ({self.alert:g})")
        return self


class MonitoringConfig(Model):
    """Thresholds by metric; whether numbers that move with the calendar by themselves are judged by their drift; weeks
    that a day's rows are compared with, and their median below which nothing is said; where alerts are posted to, and
    for how many seconds at most."""

    thresholds: dict[WatchedMetric, Threshold]
    judge_calendar: bool
    volume_weeks: int = Field(ge=4, le=52)
    volume_min_rows: int = Field(ge=1)
    webhook_url: SecretStr | None = None
    webhook_timeout_seconds: float = Field(gt=0, le=60)

    @field_validator("webhook_url")
    @classmethod
    def _is_web_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _is_web_address(url.get_secret_value()):
            raise ValueError("an address that begins with https:// or http://")
        return url


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
