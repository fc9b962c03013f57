"""Identifiers: normalised once, then pseudonymous.

Outside ingest an identifier exists only as HMAC-SHA256 (RFC 2104) of its normalised text, unless the config says that
the ids are public.
"""

import hmac
import re
import unicodedata
from dataclasses import dataclass
from hashlib import sha256

import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.config.ingest import MIN_KEY_BYTES, PseudonymConfig
from memberlevel_spark.errors import ConfigError

BLOCK_BYTES = 64  # of SHA-256
# Members and devices keep the whole digest; 128 bits are enough to tell events, orders and sessions apart.
SHORT_HEX = 32
MAX_IDENTIFIER_CHARS = 512
INVISIBLE = r"[\p{Cc}\p{Cf}]"
PAD_COLUMNS = ("_inner_pad", "_outer_pad")


def normalised(identifier: Column, *, unicode: bool) -> Column:
    """One spelling per identifier: no control or invisible characters, no outer space; empty becomes null.

    With ``unicode`` also NFKC (Unicode Annex 15), which makes composed and decomposed, full-width and plain letters
    one; it runs in Python, so it is left out where every identifier is ASCII. Digits stay text: ``007`` is not ``7``.
    """
    text = identifier.cast("string")
    if unicode:
        plain = _nfkc(text)
    else:
        # Most identifiers are visible ASCII and pass untouched.
        cleaned = F.trim(F.regexp_replace(text, INVISIBLE, ""))
        plain = F.when(text.rlike("^[!-~]+$"), text).otherwise(cleaned)
    return F.nullif(plain, F.lit(""))


def has_unicode(identifier: Column) -> Column:
    """Whether an identifier needs ``unicode`` normalisation."""
    text = identifier.cast("string")
    return F.coalesce(F.octet_length(text) > F.length(text), F.lit(False))


@F.pandas_udf(T.StringType())  # type: ignore[call-overload]
def _nfkc(identifiers: pd.Series) -> pd.Series:
    return identifiers.map(_plain_text, na_action="ignore")


def _plain_text(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.strip()  # the most are: their own normal form
    visible = (c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) not in ("Cc", "Cf"))
    return "".join(visible).strip()


@dataclass(frozen=True)
class Pseudonyms:
    """Turns identifiers into pseudonyms. ``pads`` is None when they are public and stay as they are.

    The key enters a query as two columns of a one-row frame (HMAC's two padded keys), never as a literal: Spark shows
    literals in plans, logs and errors, and the content of a frame nowhere. ``check_value`` tells that two runs used the
    same key, without telling the key.
    """

    check_value: str
    pads: DataFrame | None

    @classmethod
    def of(cls, config: PseudonymConfig, spark: SparkSession) -> "Pseudonyms":
        """Errors: ConfigError when the method needs a key and there is none, or it is shorter than 32 bytes."""
        if config.method == "off":
            return cls("public", None)
        key = _key(config)
        check = hmac.digest(key, b"memberlevel_spark key check", "sha256").hex()[:16]
        block = (key if len(key) <= BLOCK_BYTES else sha256(key).digest()).ljust(BLOCK_BYTES, b"\0")
        row = tuple(bytearray(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
        pads = spark.createDataFrame([row], f"{PAD_COLUMNS[0]} binary, {PAD_COLUMNS[1]} binary")
        return cls(f"{config.key_id}:{check}", pads)

    def with_pads(self, rows: DataFrame) -> DataFrame:
        """``rows`` with the columns that the pseudonyms are made with; a select drops them."""
        return rows if self.pads is None else rows.crossJoin(F.broadcast(self.pads))

    def member(self, identifier: Column) -> Column:
        """The pseudonym of a member or device: 64 hex digits; null stays null."""
        return self._digest(identifier)

    def short(self, kind: str, identifier: Column) -> Column:
        """The pseudonym of an event, order or session: 32 hex digits, different for each ``kind``."""
        if self.pads is None:
            return identifier
        return F.substring(self._digest(F.concat(F.lit(f"{kind}:"), identifier)), 1, SHORT_HEX)

    def _digest(self, text: Column) -> Column:
        if self.pads is None:
            return text
        inner, outer = (F.col(name) for name in PAD_COLUMNS)
        first = F.unhex(F.sha2(F.concat(inner, F.encode(text, "UTF-8")), 256))
        return F.sha2(F.concat(outer, first), 256)


def pseudonym_of(config: PseudonymConfig, identifier: str) -> str:
    """What an identifier became on its way in, without Spark: the same as ``Pseudonyms.member`` of ``normalised`` text.

    Errors: ConfigError as for ``Pseudonyms.of``.
    """
    plain = _plain_text(identifier)
    return plain if config.method == "off" else hmac.digest(_key(config), plain.encode(), "sha256").hex()


def is_pseudonym(identifier: str) -> bool:
    """Whether an identifier has the form of a member's pseudonym: 64 hex digits."""
    return re.fullmatch(r"[0-9a-f]{64}", identifier) is not None


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
