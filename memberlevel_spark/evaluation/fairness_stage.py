"""What the stage evaluate says of protected groups: who belongs to which, and whom to call.

In: the members of the test date and of the validation date, what is forecast of them, ``members``. Out: dimensions, and
plain values for ``evaluation.json``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from memberlevel_spark.evaluation.calibration import p_move_up
from memberlevel_spark.evaluation.call_thresholds import CallThresholds, call_costs, fit_thresholds
from memberlevel_spark.evaluation.fairness import Judging, fairness_record
from memberlevel_spark.evaluation.forecasts import Actuals
from memberlevel_spark.evaluation.inputs import FloatArray
from memberlevel_spark.evaluation.slices import MODEL, UNKNOWN, Dimension
from memberlevel_spark.features.groups import with_groups
from memberlevel_spark.feed.fields import group_column
from memberlevel_spark.models.calibrators import CALIBRATORS
from memberlevel_spark.registry.champion import CHAMPION
from memberlevel_spark.run import Run
from memberlevel_spark.scoring.predictor import PackedModel
from memberlevel_spark.training.stage import NETWORK, run_dir, validation_forecast


def judging_of(run: Run) -> Judging:
    """How the configuration wants groups judged."""
    settings = run.config.evaluation
    return Judging(settings.min_group_members, settings.call_share, settings.num_resamples, run.config.seed)


def group_dimensions(
    run: Run, read: dict[str, int], asked: DataFrame, *, attributes: Sequence[str], member_N: Sequence[str]
) -> tuple[Dimension, ...]:
    """The groups of members in the order of ``member_N``, one dimension per attribute, by the text of the values.

    ``asked``: member_id and as_of_date, one row of each of these members. ``read`` gets the version of ``members``.
    """
    if not attributes:
        return ()
    members = run.tables.read("members", read.setdefault("members", run.tables.version("members")))
    found = with_groups(asked.select("member_id", "as_of_date"), members, attributes).toPandas()
    rows = found.set_index("member_id").loc[list(member_N)]
    return tuple(_dimension(attribute, rows[group_column(attribute)]) for attribute in attributes)


def fairness_of(
    run: Run,
    read: dict[str, int],
    actuals: Actuals,
    p_level: Mapping[str, FloatArray],
    *,
    groups: Sequence[Dimension],
) -> dict[str, Any]:
    """``fairness_record`` of the model and the present champion on the test date; with ``evaluation.call_by`` also the
    ``thresholds`` of the list of members to call and, as ``calls``, what they cost there."""
    judged = {name: p_level[name] for name in (MODEL, CHAMPION) if name in p_level}
    record: dict[str, Any] = fairness_record(actuals, judged, groups, judging_of(run))
    attribute = run.config.evaluation.call_by
    if attribute is None:
        return {**record, "thresholds": None, "calls": []}
    thresholds = _thresholds(run, read, attribute)
    (own,) = (each for each in groups if each.name == spoken_attribute(attribute))
    p_up_N, moved_N = p_move_up(actuals.level_now_N, p_level[MODEL]), actuals.target_N > actuals.level_now_N
    calls = call_costs(thresholds, p_up_N, moved_N, names_of(own))
    told = [{"attribute": own.name, **row} for row in calls]
    return {**record, "thresholds": thresholds.plain(), "calls": told}


def spoken_attribute(attribute: str) -> str:
    """The name of its dimension."""
    return attribute.replace("_", " ")


def names_of(dimension: Dimension) -> np.ndarray:
    """The group of each member [N]; None for members without one."""
    known = [None if name == UNKNOWN else name for name in dimension.names]
    return np.array(known, dtype=object)[dimension.part_N]


def _dimension(attribute: str, value: pd.Series) -> Dimension:
    names = [*sorted(set(value.dropna())), UNKNOWN]
    place = {name: number for number, name in enumerate(names)}
    return Dimension(spoken_attribute(attribute), names, value.fillna(UNKNOWN).map(place).to_numpy(np.int64))


def _thresholds(run: Run, read: dict[str, int], attribute: str) -> CallThresholds:
    """Fitted to what the network that has not learned from the validation date says of it, by the kept calibrators."""
    examples, settings = run.tables.read("examples", read["examples"]), run.config.evaluation
    model = PackedModel.of({name: (run_dir(run) / name).read_bytes() for name in (*NETWORK, CALIBRATORS)})
    rows = validation_forecast(examples, model, method=run.config.scoring.method)
    asked, member_N = examples.where("split = 'validation'"), rows["member_id"].to_list()
    (own,) = group_dimensions(run, read, asked, attributes=[attribute], member_N=member_N)
    now_N, p_level_NK = rows["level_now"].to_numpy(), np.stack(rows["p_level"].to_list())
    return fit_thresholds(
        p_move_up(now_N, p_level_NK),
        rows["target_level"].to_numpy() > now_N,
        names_of(own),
        attribute=attribute,
        share=settings.call_share,
        min_members=settings.min_group_members,
    )
