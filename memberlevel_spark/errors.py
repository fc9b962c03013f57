"""Errors a user can act on, each with the exit code its job ends with.

Messages read ``<what is wrong>: <values, first five>. <what to do>``.
"""

from collections.abc import Iterable


class MemberLevelError(Exception):
    """A problem with a known cause; jobs print its message, without a stack trace, and exit with ``exit_code``."""

    exit_code = 1


class ConfigError(MemberLevelError):
    """The configuration, the arguments or the machine's set-up do not allow the run."""

    exit_code = 2


class DataQualityError(MemberLevelError):
    """The input data, or a table made from it, breaks a rule that must hold."""

    exit_code = 3


class ArtefactError(MemberLevelError):
    """A table, run folder, bundle or alias is missing, damaged or belongs to another run."""

    exit_code = 4


class UnknownMemberError(ArtefactError):
    """The tables hold nothing about a member who was asked for."""


class LeakageError(MemberLevelError):
    """Something would use the future: an immature label, or splits whose windows overlap."""

    exit_code = 5


class AlertError(MemberLevelError):
    """A job was asked to fail where the monitoring raised an alert, and it did."""

    exit_code = 6


def first_five(values: Iterable[object]) -> str:
    """Show at most five values, sorted by their text, and how many more there are."""
    shown = sorted(str(value) for value in values)
    rest = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + rest
