"""Pseudonyms: identifiers leave ingest only as HMAC-SHA256 (RFC 2104), unless the config says they are public."""

import hmac
from collections.abc import Callable

import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F

from memberlevel_spark.config.model import PseudonymConfig
from memberlevel_spark.errors import ConfigError

MIN_KEY_BYTES = 32


def pseudonymiser(config: PseudonymConfig) -> Callable[[Column], Column]:
    """A function from an identifier column (string, null stays null) to its pseudonym (64 hex digits).

    Errors: ConfigError when the method needs a key and there is none, or it is shorter than 32 bytes.
    """
    if config.method == "off":
        return lambda identifier: identifier
    key = _key(config)

    # A Python function, not an expression: Spark shows the literals of an expression in plans, logs and errors.
    @F.pandas_udf("string")  # type: ignore[call-overload]
    def hmac_sha256(identifiers: pd.Series) -> pd.Series:
        return identifiers.map(lambda text: hmac.digest(key, text.encode(), "sha256").hex(), na_action="ignore")

    return lambda identifier: hmac_sha256(identifier)


def _key(config: PseudonymConfig) -> bytes:
    if config.key_file is not None:
        if not config.key_file.is_file():
            raise ConfigError(f"the pseudonym key file is missing: {config.key_file}. Mount it or set the key.")
        key = config.key_file.read_bytes().strip()
    else:
        key = config.key.get_secret_value().encode() if config.key else b""
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(
            f"the pseudonym key is too short: {len(key)} bytes, at least {MIN_KEY_BYTES} are needed. Set"
            " MEMBERLEVEL__PSEUDONYMS__KEY or pseudonyms.key_file, or say pseudonyms.method: off for public ids."
        )
    return key
