"""The same numbers for parts of the members: where the forecast is good, and where it is not. No Spark.

In: what happened, the forecasts, and which part of each dimension a member belongs to. Out: one row per part.

Shape legend: N members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memberlevel_spark.evaluation.forecasts import Actuals, Forecast, judge
from memberlevel_spark.evaluation.inputs import FloatArray, IntArray, check_same_rows

SMALL = "(small)"
UNKNOWN = "(unknown)"
MODEL, STAYS = "model", "persistence"
SLICE_METRICS = ("accuracy", "log_loss", "upgrade_auc", "churn_auc", "churn_brier", "spend_mae")

SliceRow = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Dimension:
    """A way to part the members: ``part_N`` says by its place in ``names`` which part each belongs to."""

    name: str
    names: Sequence[str]
    part_N: IntArray


def banded(name: str, bands: Mapping[str, float], value_N: FloatArray) -> Dimension:
    """Parts by the size of a number: each band goes from its first value up to the next band's.

    ``bands`` are in ascending order; the first begins with the smallest value there is. NaN is the part ``(unknown)``.
    """
    starts = list(bands.values())[1:]
    place_N = np.searchsorted(starts, np.nan_to_num(value_N), side="right")
    return Dimension(name, [*bands, UNKNOWN], np.where(np.isnan(value_N), len(bands), place_N))


def slice_metrics(
    actuals: Actuals, forecasts: Mapping[str, Forecast], dimensions: Sequence[Dimension], *, min_members: int
) -> list[SliceRow]:
    """Judge the forecasts ``model`` and ``persistence`` in every part of every dimension.

    Out: rows of ``dimension``, ``slice``, ``members``, the model's ``SLICE_METRICS`` and ``persistence_accuracy``, in
    the order of the dimensions and of their parts; parts that nobody belongs to are left out. Parts of fewer than
    ``min_members`` are judged together, as the last row ``(small)``; when they are too few even so, its metrics are
    None and the row tells how many there are. A metric that is undefined in a part is None.

    Raises:
        DataQualityError: a dimension has another number of members.
    """
    rows = []
    for dimension in dimensions:
        check_same_rows(target=actuals.target_N, part=dimension.part_N)
        for name, kept_N in cells_of(dimension, min_members):
            row: SliceRow = {"dimension": dimension.name, "slice": name, "members": int(kept_N.sum())}
            rows.append(row | _judged(actuals, forecasts, kept_N, shown=int(kept_N.sum()) >= min_members))
    return rows


def cells_of(dimension: Dimension, min_members: int) -> list[tuple[str, np.ndarray]]:
    """Name and members, as a mask [N], of each part of at least ``min_members``, in their order; the last cell
    ``(small)`` holds the members of all others, where there are any."""
    count_P = np.bincount(dimension.part_N, minlength=len(dimension.names))
    large = [place for place, count in enumerate(count_P) if count >= min_members and count]
    parts = [(dimension.names[place], dimension.part_N == place) for place in large]
    small_N = ~np.isin(dimension.part_N, large)
    return [*parts, (SMALL, small_N)] if small_N.any() else parts


def _judged(actuals: Actuals, forecasts: Mapping[str, Forecast], kept_N: np.ndarray, *, shown: bool) -> SliceRow:
    if not shown:
        return dict.fromkeys((*SLICE_METRICS, "persistence_accuracy"))
    of_part = actuals.of_rows(kept_N)
    model, stays = (judge(of_part, forecasts[name].of_rows(kept_N)) for name in (MODEL, STAYS))
    return {**{name: model.get(name) for name in SLICE_METRICS}, "persistence_accuracy": stays["accuracy"]}
