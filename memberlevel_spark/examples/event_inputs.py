"""A member's last events as numbers at the end of the encoded array.

In: a row of ``member_event_sequences``. Out: of each event its indices as they are, and its amount, gap and age scaled
by fixed rules: field by field, the newest event first, 0 where there is none.

Shape legend: N rows, S events of a sequence, V values of a row: every field of every event.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

# In the order in which the model reads them; ``models/spec.py`` says how many of each.
INDICES = ("event_type", "category", "channel", "product_bucket", "hour", "weekday")
NUMBERS = ("amount_log", "gap_seconds", "age_seconds")
NUM_HOURS, NUM_WEEKDAYS = 24, 7
# Minor units of 22,000 have a logarithm of 10; a gap of a week in hours, and an age of half a year in days, one of 5.
_AMOUNT_SCALE, _TIME_SCALE = 10.0, 5.0
_SECONDS = {"gap_seconds": 3600.0, "age_seconds": 86_400.0}


@dataclass(frozen=True)
class EventInputs:
    """What is read of the events.

    Args:
        num_events: length of every sequence.
        sizes: how many values each of ``INDICES`` takes, 0 for padding included.
        meaning: digest of what the sequences' numbers mean, their vocabulary included.
    """

    num_events: int
    sizes: tuple[int, ...]
    meaning: str

    @property
    def num_values(self) -> int:
        """Numbers of a row."""
        return self.num_events * (len(INDICES) + len(NUMBERS))

    @property
    def value(self) -> Column:
        """The arrays that are read, as one column."""
        return F.struct(*INDICES, *NUMBERS)

    def matrix(self, events: pa.StructArray) -> NDArray[np.float32]:
        """The values [N, V] of rows of ``value``; there are some, and none of their elements is null."""
        parts = [self._field(events, name) for name in INDICES]
        parts += [_scaled(name, self._field(events, name)) for name in NUMBERS]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")

    def _field(self, events: pa.StructArray, name: str) -> NDArray[np.float32]:
        values = events.field(name).flatten().to_numpy(zero_copy_only=False)
        # Products have some thousand numbers at most; all are exact.
        return np.asarray(values).reshape(len(events), self.num_events).astype(np.float32)


def _scaled(name: str, values_NS: NDArray[np.float32]) -> NDArray[np.float32]:
    if name == "amount_log":
        return values_NS / np.float32(_AMOUNT_SCALE)
    return np.log1p(values_NS / np.float32(_SECONDS[name])) / np.float32(_TIME_SCALE)
