"""Vocabularies: which number stands for which text, fitted on what the shop knew on its last training date.

Index 0 is padding or no value, 1 a text that is not in the vocabulary, 2 and up its entries, the most frequent first.
Kept as JSON; the version is a digest of the entries, so that equal vocabularies are one version.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from memberlevel_spark.errors import ArtefactError

NONE, UNKNOWN, FIRST_ENTRY = 0, 1, 2


@dataclass(frozen=True)
class Vocabulary:
    """The entries of each column, by its name; ``fitted_through`` is the last day that had a say."""

    fitted_through: date
    entries: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, fitted_through: date, ranked: Iterable[tuple[str, int, str]], names: Sequence[str]) -> "Vocabulary":
        """From (name, rank, value) rows in any order; a column without any value has no entries."""
        by_rank = sorted(ranked)
        return cls(fitted_through, {name: tuple(v for n, _, v in by_rank if n == name) for name in sorted(names)})

    @property
    def version(self) -> str:
        """``v`` and 12 hex digits of SHA-256 over the entries."""
        text = json.dumps(self._plain(), sort_keys=True)
        return f"v{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def to_json(self) -> str:
        """The vocabulary as JSON; equal ones give equal text."""
        content = {"version": self.version, "fitted_through": str(self.fitted_through), "entries": self._plain()}
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """Errors: ArtefactError when the text is no vocabulary, or not the one whose version it says it is."""
        try:
            content = json.loads(text)
            entries = {name: tuple(values) for name, values in content["entries"].items()}
            vocabulary, said = cls(date.fromisoformat(content["fitted_through"]), entries), content["version"]
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise ArtefactError(
                f"a vocabulary cannot be read: {problem!r}. Run the stage features without --as-of."
            ) from None
        if vocabulary.version != said:
            raise ArtefactError(
                f"a vocabulary was changed after it was written: it says {said} and is {vocabulary.version}."
                " Run the stage features without --as-of."
            )
        return vocabulary

    def _plain(self) -> dict[str, list[str]]:
        return {name: list(values) for name, values in self.entries.items()}


def indices(values: pa.Array, entries: Sequence[str], *, missing: int) -> NDArray[np.int32]:
    """The index of every text; a null takes ``missing``."""
    found = pc.index_in(values, value_set=pa.array(entries, values.type))
    known = np.asarray(found.fill_null(UNKNOWN - FIRST_ENTRY).to_numpy(zero_copy_only=False)) + FIRST_ENTRY
    if values.null_count:
        known = np.where(values.is_null().to_numpy(zero_copy_only=False), missing, known)
    return np.asarray(known, dtype=np.int32)
