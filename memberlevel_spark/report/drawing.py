"""A figure of the report: a drawing with a text that says the same to someone who cannot see it."""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class ReportFigure:
    """One drawing: inline SVG with ``role="img"`` and ``aria-label``, and the caption under it."""

    svg: Markup
    caption: str


def described(svg: str, label: str, caption: str) -> ReportFigure:
    """Give a drawing its text; the namespaces go because inside HTML they are idle and look like web addresses."""
    root = Markup('<svg role="img" aria-label="{}" viewBox=').format(label)
    inside = svg[svg.index("viewBox=") + len("viewBox=") :]
    # The plots escape every name they draw; nothing else in them comes from data as text.
    return ReportFigure(root + Markup(inside), caption)


def listed(parts: Iterable[str]) -> str:
    """One text of several."""
    return "; ".join(parts)
