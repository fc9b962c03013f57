"""The columns of ``member_features`` and ``member_sequences`` in memory: what ``assemble.py`` names in Spark.

In: the kernel's rows (``windows.py``), Q of them. Out: one array of float64 by the name of each column, [Q], or
[Q, weeks] for weekly sums; NaN where the table has null.
"""

import numpy as np
import pyarrow as pa

from memberlevel_spark.features.declare import to_level_features
from memberlevel_spark.features.kernel_axes import Doubles
from memberlevel_spark.features.windows import WindowPlan, names_of_type, standing_names
from memberlevel_spark.levels.rules import LevelRules


def window_columns(windows: pa.RecordBatch, plan: WindowPlan) -> dict[str, Doubles]:
    """Name the kernel's values by the declarations and add tenure and the distance to each higher level."""
    columns: dict[str, Doubles] = {}
    for kind in ("long", "double"):
        columns |= _by_name(windows.column(f"{kind}s"), names_of_type(plan.declared, plan.profile, kind))
    columns["tenure_days"] = _doubles(windows.column("as_of_day")) - _doubles(windows.column("known_day"))
    columns |= _by_name(windows.column("standing"), standing_names(plan.rules))
    columns |= {name: np.maximum(needed - columns[have], 0.0) for name, have, needed in to_level_features(plan.rules)}
    columns |= {f"to_keep_{metric}": _to_keep(columns, metric, plan.rules) for metric in plan.rules.metrics}
    weekly_QMW = _elements(windows.column("weekly")).reshape(len(windows), len(plan.measures), plan.sequence_weeks)
    return columns | {f"weekly_{measure}": weekly_QMW[:, place] for place, measure in enumerate(plan.measures)}


def _to_keep(columns: dict[str, Doubles], metric: str, rules: LevelRules) -> Doubles:
    """What is missing by carry-over to the level held now; 0 where it needs nothing, or is kept without it."""
    needed_K = np.array([float(level.get(metric, 0)) for level in rules.thresholds])
    missing_Q = needed_K[columns["level_now"].astype(np.int64)] - columns[f"level_{metric}_carry_over"]
    at_stake_Q = columns["level_if_idle"] < columns["level_now"]
    return np.where(at_stake_Q, np.maximum(missing_Q, 0.0), 0.0)


def _by_name(lists: pa.ListArray, names: tuple[str, ...] | list[str]) -> dict[str, Doubles]:
    elements_QF = _elements(lists).reshape(len(lists), len(names))
    return {name: elements_QF[:, place] for place, name in enumerate(names)}


def _elements(lists: pa.ListArray) -> Doubles:
    return _doubles(lists.flatten())


def _doubles(values: pa.Array) -> Doubles:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
