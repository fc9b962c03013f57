"""How far silver has come: which batches of each source it has taken, and what it took them to mean.

Kept in the metadata of the commit that ends each run of silver, so that it is true exactly when the tables are. A
change of meaning (maps, money, rules, zone, pseudonym key) asks for all batches anew.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

from memberlevel_spark.config import Config
from memberlevel_spark.tables import DeltaTables

STAMP = "silver"


@dataclass(frozen=True)
class Progress:
    """``batches``: the last batch taken of each source; ``meaning``: fingerprint of how rows are understood."""

    meaning: str
    batches: dict[str, int]

    def stamp(self) -> dict[str, object]:
        """What to put into the commit that ends the run."""
        return {STAMP: asdict(self)}


def meaning_of(config: Config, key_check: str) -> str:
    """Fingerprint of everything that decides what a bronze row becomes."""
    parts = {
        "sources": {
            name: source.model_dump(mode="json", exclude={"path", "format", "options", "on_bad_file", "read_schema"})
            for name, source in config.sources.items()
        },
        "money": config.money.model_dump(mode="json"),
        "zone": config.timeline.business_zone,
        "ingest": config.ingest.model_dump(mode="json", exclude={"files_per_batch"}),
        "quality": config.quality.model_dump(mode="json", exclude={"max_quarantine_share"}),
        "key": key_check,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def last_progress(tables: DeltaTables, table: str) -> Progress | None:
    """The progress of the newest run that ended; None before the first."""
    for commit in tables.commits(table):
        if STAMP in commit.stamp:
            return Progress(**commit.stamp[STAMP])
    return None
