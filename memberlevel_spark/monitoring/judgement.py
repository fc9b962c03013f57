"""What a model said of its members, judged by what happened to them, as a whole and by parts. No session.

In: the members of one as-of date and model version as an Arrow table, one row each: member_id, level_now,
target_level, num_orders, spend_cents, p_level, the predictor's ``NUMBERS`` and the columns of ``build_slice_columns``.
Out: one row per dimension, slice and metric.

Shape legend: N members, K levels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from memberlevel_spark.evaluation.calibration import p_move_down, p_move_up
from memberlevel_spark.evaluation.forecasts import Actuals, Forecast, judge
from memberlevel_spark.evaluation.inputs import FloatArray
from memberlevel_spark.evaluation.outcomes import spend_by_tenths
from memberlevel_spark.evaluation.slice_dimensions import dimensions_of
from memberlevel_spark.evaluation.slices import Dimension, cells_of
from memberlevel_spark.features.profiles import ProfileFeature
from memberlevel_spark.scoring.predictor import NUMBERS

ALL = "all"
# Of ``judge``; beside them stand persistence_accuracy and spend_bias.
JUDGED = (
    *("accuracy", "log_loss", "upgrade_auc", "upgrade_ap", "downgrade_auc"),
    *("churn_auc", "churn_brier", "churn_ece", "spend_mae"),
)
OUTCOME_METRICS = (*JUDGED, "persistence_accuracy", "spend_bias")
# Members in the order of a chance, or of the expected spend, cut into tenths; the metrics of each tenth.
TENTHS_OF = ("p_up", "p_down", "p_churn")
TENTHS_OF_SPEND = "expected_spend"
CHANCE_METRICS = ("predicted_share", "observed_share")
SPEND_METRICS = ("expected_spend", "realised_spend")

OutcomeRow = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Standards:
    """By what members are judged: names of the levels, categories of the profiles, members below which a part is
    judged together with other small ones, and minor units in a whole unit of the currency."""

    level_names: Sequence[str]
    profile: Sequence[ProfileFeature]
    min_members: int
    unit: float


def judge_members(members: pa.Table, standards: Standards) -> list[OutcomeRow]:
    """Every ``OUTCOME_METRICS`` of all members and of their parts, then tenths of all members.

    Parts of fewer members than the standards ask for are one part ``(small)``, whose values are None when even
    together they are too few; all members are judged however few they are. A metric that is undefined is None.
    ``spend_bias`` is the mean of expected less realised spend, ``spend_mae`` of the median, in whole units. Tenths
    (``tenth of p_up``, …; slices 01, the lowest, to 10) have the mean chance and the share to whom it happened, those
    of ``expected_spend`` both sums in whole units; of fewer than ten members there are as many tenths as members.
    """
    # In one order, so that sums do not depend on partitions.
    rows = members.sort_by("member_id")
    p_level_NK = _matrix(rows.column("p_level"))
    frame = rows.drop_columns(["p_level"]).to_pandas()
    outcomes_N2 = frame[["num_orders", "spend_cents"]].to_numpy()
    target_N, now_N = (frame[name].to_numpy(np.int64) for name in ("target_level", "level_now"))
    actuals = Actuals.of(target_N, now_N, outcomes_N2, unit=standards.unit)
    forecast_NP = np.concatenate([p_level_NK, frame[list(NUMBERS)].to_numpy()], axis=1)
    forecast = Forecast.of_array(forecast_NP, p_level_NK.shape[1]).in_units(standards.unit)
    parts = dimensions_of(frame, standards.level_names, standards.profile)
    whole = Dimension(ALL, [ALL], np.zeros(len(frame), dtype=np.int64))
    found = [row for dimension in (whole, *parts) for row in _judged(actuals, forecast, dimension, standards)]
    return found + _tenths(actuals, forecast)


def _judged(actuals: Actuals, forecast: Forecast, dimension: Dimension, standards: Standards) -> list[OutcomeRow]:
    min_members = 1 if dimension.name == ALL else standards.min_members
    rows: list[OutcomeRow] = []
    for name, kept_N in cells_of(dimension, min_members):
        num_members = int(kept_N.sum())
        measured: dict[str, float | None] = dict.fromkeys(OUTCOME_METRICS)
        if num_members >= min_members:
            measured = _measured(actuals.of_rows(kept_N), forecast.of_rows(kept_N))
        rows += _rows(dimension.name, name, measured, num_members)
    return rows


def _measured(actuals: Actuals, forecast: Forecast) -> dict[str, float | None]:
    found = judge(actuals, forecast)
    stays = float((actuals.target_N == actuals.level_now_N).mean())
    assert forecast.spend_N is not None, "the model forecasts spend"
    bias = float((forecast.spend_N - actuals.spend_N).mean())
    return {**{name: found[name] for name in JUDGED}, "persistence_accuracy": stays, "spend_bias": bias}


def _tenths(actuals: Actuals, forecast: Forecast) -> list[OutcomeRow]:
    """Members of equal chance share what happened to them: their order says nothing."""
    assert forecast.p_level_NK is not None and forecast.p_churn_N is not None and forecast.spend_N is not None
    now_N, target_N = actuals.level_now_N, actuals.target_N
    chances: dict[str, tuple[FloatArray, np.ndarray]] = {
        "p_up": (p_move_up(now_N, forecast.p_level_NK), target_N > now_N),
        "p_down": (p_move_down(now_N, forecast.p_level_NK), target_N < now_N),
        "p_churn": (forecast.p_churn_N, actuals.orders_N == 0),
    }
    rows: list[OutcomeRow] = []
    for name in TENTHS_OF:
        p_N, happened_N = chances[name]
        for place, tenth in enumerate(spend_by_tenths(happened_N, p_N), start=1):
            shares = [tenth[key] / tenth["members"] for key in ("expected", "realised")]
            rows += _tenth(name, place, dict(zip(CHANCE_METRICS, shares, strict=True)), int(tenth["members"]))
    for place, tenth in enumerate(spend_by_tenths(actuals.spend_N, forecast.spend_N), start=1):
        sums = dict(zip(SPEND_METRICS, (tenth["expected"], tenth["realised"]), strict=True))
        rows += _tenth(TENTHS_OF_SPEND, place, sums, int(tenth["members"]))
    return rows


def tenth_dimension(name: str) -> str:
    """The dimension of the tenths of members by a chance, or by the expected spend."""
    return f"tenth of {name}"


def _tenth(name: str, place: int, measured: dict[str, float], num_members: int) -> list[OutcomeRow]:
    return _rows(tenth_dimension(name), f"{place:02d}", measured, num_members)


def _rows(dimension: str, part: str, measured: Mapping[str, float | None], num_members: int) -> list[OutcomeRow]:
    told: OutcomeRow = {"dimension": dimension, "slice": part, "members": num_members}
    return [{**told, "metric": metric, "value": value} for metric, value in measured.items()]


def _matrix(lists: pa.ChunkedArray) -> FloatArray:
    """Lists of equal length as [N, K]."""
    column = lists.combine_chunks()
    values_NK: FloatArray = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return values_NK
