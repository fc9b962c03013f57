"""The service without its web server: it knows the champion and the members' tables, and answers questions.

In: a ``Question``. Out: plain values for JSON. The champion and the tables are read once and looked at again every few
seconds; any number of threads may ask.
"""

import hashlib
import logging
from collections.abc import Hashable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from memberlevel_spark.config import Config
from memberlevel_spark.errors import DataQualityError, MemberLevelError, UnknownMemberError
from memberlevel_spark.features.point_in_time import configured_dimensions
from memberlevel_spark.features.vocabulary_stage import vocabulary_path
from memberlevel_spark.levels.stage import level_rules
from memberlevel_spark.registry.bundle import read_alias
from memberlevel_spark.registry.champion import CHAMPION, load_champion, present_registry
from memberlevel_spark.run import Shop
from memberlevel_spark.serving.asked import id_in_tables
from memberlevel_spark.serving.follow import Followed
from memberlevel_spark.serving.member_rows import MemberRows
from memberlevel_spark.serving.member_tables import HeldTables, latest_scored, ledger_version, versions
from memberlevel_spark.serving.requests import Question
from memberlevel_spark.serving.scorer import EncodedMember, Scorer
from memberlevel_spark.serving.shared_passes import SharedPasses

Answer = dict[str, Any]
log = logging.getLogger("memberlevel_spark")


class Service:
    """Answers for one shop."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._passes, self._rules = shop, SharedPasses(), level_rules(shop)
        self._needed = needed_fields(shop.config)
        seconds = shop.config.serving.refresh_seconds
        self._champion = Followed("champion", self._look_at_champion, self._load, every_seconds=seconds)
        self._members = Followed("tables", self._look_at_tables, lambda: HeldTables(shop), every_seconds=seconds)
        self._ledger = Followed(
            "ledger", lambda: ledger_version(shop), lambda: latest_scored(shop), every_seconds=seconds
        )
        self._loaded_since: datetime | None = None

    def score(self, question: Question) -> Answer:
        """The forecast: a row of ``member_scores`` without the member's id, and the names of the levels.

        Errors: UnknownMemberError, DataQualityError for what cannot be answered, ArtefactError and ConfigError as long
        as there is no champion or no tables.
        """
        scorer, member = self._encoded(question)
        return {**scorer.forecast(member, self._passes.predict), "level_names": list(self._rules.names)}

    def explain(self, question: Question) -> Answer:
        """The forecast with ``reasons`` and ``advice``, as ``member_reasons`` and ``member_advice`` have them.

        Errors: as for ``score``.
        """
        scorer, member = self._encoded(question)
        forecast = scorer.forecast(member, self._passes.predict)
        more = {"reasons": scorer.reasons(member), "advice": scorer.advice(member)}
        return {**forecast, "level_names": list(self._rules.names), **more}

    @property
    def model_version(self) -> str | None:
        """The model that answers now; None: there is none."""
        try:
            return self._champion.current().bundle.version
        except MemberLevelError:
            return None

    def warm_up(self) -> None:
        """Load what there is and answer once, so that nobody waits for it; what is missing is logged."""
        try:
            self._champion.current().warm_up()
            self._members.current()
        except MemberLevelError:
            log.warning("the service starts and cannot answer yet: see /health")

    def health(self) -> tuple[bool, Answer]:
        """Whether it can answer, and what it answers from: model, since when, versions of the tables, what is wrong."""
        version, tables, problems = None, {}, []
        try:
            version = self._champion.current().bundle.version
            tables = self._members.current().versions
        except MemberLevelError as problem:
            problems.append(str(problem))
        later = {str(each.problem) for each in (self._champion, self._members) if each.problem} - set(problems)
        since = self._loaded_since.isoformat(timespec="seconds") if self._loaded_since else None
        status = "unavailable" if problems else "degraded" if later else "ok"
        told = {"model_version": version, "loaded_since": since, "tables": tables}
        return not problems, {"status": status, **told, "problems": [*problems, *sorted(later)]}

    def _encoded(self, question: Question) -> tuple[Scorer, EncodedMember]:
        scorer = self._champion.current()
        as_of = question.as_of or self._ledger.current()
        return scorer, scorer.encode(self._rows(question, as_of), as_of)

    def _rows(self, question: Question, as_of: date) -> MemberRows:
        if question.member is not None:
            return question.member.rows(self._rules, needed=self._needed)
        assert question.member_id is not None, "one of the two is given"
        require_covered(self._shop, as_of)
        rows = self._members.current().find(id_in_tables(self._shop.config.pseudonyms, question.member_id))
        return require_known(rows)

    def _load(self) -> Scorer:
        scorer = Scorer.of(self._shop, load_champion(self._shop))
        self._loaded_since = datetime.now(UTC)
        return scorer

    def _look_at_champion(self) -> Hashable:
        """The vocabulary says what some of the champion's features mean."""
        path = vocabulary_path(self._shop)
        vocabulary = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        return read_alias(present_registry(self._shop), CHAMPION), vocabulary

    def _look_at_tables(self) -> Hashable:
        found: Mapping[str, int | None] = versions(self._shop)
        return tuple(found.items())


def needed_fields(config: Config) -> frozenset[str]:
    """The fields of a given member, beside tiles and levels, that features or levels of the shop are made of."""
    of_profiles = bool(config.profile_read) or config.levels.manual is not None
    of_breakdowns = bool(configured_dimensions(config))
    return frozenset(["profiles"] * of_profiles + ["breakdowns"] * of_breakdowns)


def require_covered(shop: Shop, as_of: date) -> None:
    """Errors: DataQualityError for an as-of date after the end of the tables' data."""
    data_through = shop.config.timeline.data_through
    if as_of > data_through:
        raise DataQualityError(
            f"the as-of date is after the end of the data: {as_of} (data reaches {data_through}). Ask for an earlier"
            " one, or give the member's own rows."
        )


def require_known(rows: MemberRows | None) -> MemberRows:
    """Errors: UnknownMemberError where there is no member."""
    if rows is None:
        raise UnknownMemberError(
            "the tables know no such member: the given id. Check it as the source writes it, or run the stages up to"
            " levels."
        )
    return rows
