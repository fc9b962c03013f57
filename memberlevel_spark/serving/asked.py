"""What the jobs that start no Spark session are asked, and how they find a member."""

from dataclasses import dataclass
from datetime import date

from memberlevel_spark.config.ingest import PseudonymConfig
from memberlevel_spark.ingest.identifiers import is_pseudonym, pseudonym_of
from memberlevel_spark.run import Shop
from memberlevel_spark.serving.member_tables import LiveTables, live_tables


@dataclass(frozen=True)
class Asked(Shop):
    """A shop and the arguments: the member and the as-of date of score_one, the address of serve."""

    member: str | None = None
    as_of: date | None = None
    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def tables(self) -> LiveTables:
        """The tables as they are now."""
        return live_tables(self)

    @property
    def as_of_dates(self) -> tuple[date, ...]:
        """The given date, if any."""
        return (self.as_of,) if self.as_of else ()


def id_in_tables(config: PseudonymConfig, member: str) -> str:
    """The id by which the tables know a member who is named as the source, or as the tables, name them.

    What has the form of a pseudonym is taken for one, so that who asks by pseudonyms needs no key. Errors: ConfigError
    when a key is needed and there is none.
    """
    return member if config.method != "off" and is_pseudonym(member) else pseudonym_of(config, member)
