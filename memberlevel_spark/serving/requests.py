"""What the service is asked: a member by id, or the member's own rows; checked and bounded before any work.

Rows are those of the tables (``member_days``, ``member_levels``, ``members``, ``member_day_breakdowns``) by the names
of their columns, without the member's id. No value that was sent is repeated in a message.
"""

from collections.abc import Collection
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictInt, StringConstraints, create_model, model_validator

from memberlevel_spark.config.base import Model
from memberlevel_spark.errors import DataQualityError, first_five
from memberlevel_spark.features.kernel_axes import MAX_VALUE
from memberlevel_spark.levels.rules import LevelRules
from memberlevel_spark.schemas import BREAKDOWN_MEASURES, MEASURES
from memberlevel_spark.serving.history import as_date
from memberlevel_spark.serving.member_rows import MemberRows, rows_from

# Rows of one member: thirteen years of days, and several values a day.
MAX_TILES, MAX_BREAKDOWNS = 5_000, 50_000
MAX_STRETCHES, MAX_PROFILES, MAX_ATTRIBUTES = 5_000, 1_000, 100


def _written(value: object) -> object:
    """A number is no date, though it could be read as one."""
    if not isinstance(value, str):
        raise ValueError("a date as text, such as 2024-12-31")
    return value


Day = Annotated[date, BeforeValidator(_written), Field(ge=date(1970, 1, 1), le=date(2999, 12, 31))]
Amount = Annotated[StrictInt, Field(ge=-MAX_VALUE, le=MAX_VALUE)]
Level = Annotated[StrictInt, Field(ge=0, lt=32)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Text = Annotated[str, StringConstraints(max_length=1_000)]


class _Row(Model):
    day: Day


_MEASURES: dict[str, Any] = dict.fromkeys(MEASURES, (Amount, 0))
_OF_BREAKDOWNS: dict[str, Any] = dict.fromkeys(BREAKDOWN_MEASURES, (Amount, 0))
Tile: Any = create_model("Tile", __base__=_Row, **_MEASURES)
_Breakdown: Any = create_model("_Breakdown", __base__=_Row, **_OF_BREAKDOWNS)


class BreakdownRow(_Breakdown):
    """Sums of one day and one value of a dimension."""

    dimension: Literal["category", "channel", "product", "hour"]
    value: Text


class Stretch(Model):
    """The level shown from a day until the next stretch; ``own_level`` differs where a level was given by hand."""

    valid_from: Day
    level: Level
    own_level: Level | None = None

    @property
    def row(self) -> dict[str, object]:
        """As ``member_levels`` has it."""
        own = self.level if self.own_level is None else self.own_level
        return {"valid_from": self.valid_from, "level": self.level, "own_level": own}


class Profile(Model):
    """What a profile says from a day on; the shop knew it from ``known_from``, by default from that day, and an
    attribute that was corrected from the day in ``corrected_from``."""

    valid_from: Day
    valid_to: Day | None = None
    attributes: dict[Name, Text] = Field(default_factory=dict, max_length=MAX_ATTRIBUTES)
    known_from: Day | None = None
    corrected_from: dict[Name, Day] = Field(default_factory=dict, max_length=MAX_ATTRIBUTES)


class GivenMember(Model):
    """A member's rows up to the as-of date. ``known_from`` is the first day on which the shop knew the member; measures
    that are not given are 0. Profiles and breakdowns that the shop's features are made of must be given, if only as [].
    """

    known_from: Day
    tiles: list[Tile] = Field(max_length=MAX_TILES)
    levels: list[Stretch] = Field(min_length=1, max_length=MAX_STRETCHES)
    profiles: list[Profile] | None = Field(default=None, max_length=MAX_PROFILES)
    breakdowns: list[BreakdownRow] | None = Field(default=None, max_length=MAX_BREAKDOWNS)

    def rows(self, rules: LevelRules, *, needed: Collection[str]) -> MemberRows:
        """As the tables have them; ``needed`` are the fields that features or levels of the shop are made of.

        Errors: DataQualityError for needed rows that are not given, and for levels that the programme has not.
        """
        _require_given(self, needed)
        _require_known_levels(self, rules)
        nobody = {"attributes": {}, "corrected_from": {}, "declared": False}
        profiles = [{**nobody, "valid_from": self.known_from, "valid_to": None, "known_from": self.known_from}]
        profiles += [_profile_row(profile, self.known_from) for profile in self.profiles or ()]
        return rows_from(
            {
                "profiles": profiles,
                "tiles": [tile.model_dump() for tile in self.tiles],
                "levels": [stretch.row for stretch in self.levels],
                "breakdowns": [row.model_dump() for row in self.breakdowns or ()],
            }
        )


class Question(Model):
    """Whom and when: ``member_id`` as the source or the tables name them, or the ``member``; by default as of the date
    that was scored last. A given member needs an as-of date."""

    member_id: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    member: GivenMember | None = None
    as_of: Day | None = None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "Question":
        if (self.member_id is None) == (self.member is None):
            raise ValueError("either member_id or member")
        if self.member is not None and self.as_of is None:
            raise ValueError("as_of beside member: the last day of the rows")
        return self


def _profile_row(profile: Profile, since: date) -> dict[str, object]:
    """A profile is known no sooner than its member."""
    row = profile.model_dump()
    return {**row, "known_from": max(since, profile.known_from or profile.valid_from), "declared": True}


def _require_given(member: GivenMember, needed: Collection[str]) -> None:
    missing = [field for field in needed if getattr(member, field) is None]
    if missing:
        raise DataQualityError(
            f"rows that the shop's features are made of are not given: {first_five(missing)}. Give them; [] says that"
            " there are none."
        )


def _require_known_levels(member: GivenMember, rules: LevelRules) -> None:
    given = {level for stretch in member.levels for level in (stretch.level, stretch.own_level or 0)}
    if wrong := given - set(range(rules.num_levels)):
        raise DataQualityError(
            f"levels that the programme has not: {first_five(wrong)}. Use 0 ({rules.names[0]}) to"
            f" {rules.num_levels - 1} ({rules.names[-1]})."
        )
    manual = rules.config.manual
    for profile in (member.profiles or ()) if manual else ():
        assert manual is not None, "the loop is empty without"
        level, until = (profile.attributes.get(name) for name in (manual.level, manual.until))
        if (level is not None and level not in rules.names) or (until is not None and as_date(until) is None):
            raise DataQualityError(
                f"a profile gives a level by hand that cannot be read: attributes {manual.level} and {manual.until}."
                f" Use one of {', '.join(rules.names)}, and a date such as 2024-12-31."
            )
