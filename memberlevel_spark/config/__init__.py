"""Configuration: layered YAML into frozen, validated models."""

from memberlevel_spark.config.load import config_fingerprint, load_config, masked_yaml, training_fingerprint
from memberlevel_spark.config.model import Config

__all__ = ["Config", "config_fingerprint", "load_config", "masked_yaml", "training_fingerprint"]
