"""The job call_list: the members likeliest to move up, as a file for those who call them.

In: the champion's scores as of a date and, where the list goes by protected groups, ``members``. Out:
``call_list.csv``: member_id, as_of_date, level_now, p_up, the likeliest first. Probabilities are the scores', and no
group is in the file.
"""

from datetime import date

import pandas as pd
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.evaluation.call_thresholds import CallThresholds
from memberlevel_spark.evaluation.fairness import BoolArray, likeliest
from memberlevel_spark.evaluation.fairness_stage import group_dimensions, names_of
from memberlevel_spark.evaluation.stage import load_evaluation, own_version
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.run import RowCounts, Run, StageResult

FILE = "call_list.csv"
COLUMNS = ("member_id", "as_of_date", "level_now", "p_up")


def run_call_list(run: Run) -> StageResult:
    """Write the list as of the given date or the last one of the configuration.

    ``evaluation.call_share`` of the members are on it; with ``evaluation.call_by`` those who reach the threshold of
    their group. Errors: ArtefactError when the champion has no scores of the date, or thresholds are another model's.
    """
    champion, as_of = load_champion(run).version, max(run.as_of_dates or run.config.timeline.score)
    read = {"member_scores": run.tables.version("member_scores")}
    scores = run.tables.read("member_scores", read["member_scores"])
    of_date = scores.where((F.col("as_of_date") == F.lit(as_of)) & (F.col("model_version") == champion))
    rows = of_date.select(*COLUMNS).orderBy(F.col("p_up").desc(), F.col("member_id").asc()).toPandas()
    if rows.empty:
        raise ArtefactError(f"the champion has no scores as of {as_of}: {champion}. Run the stage score for the date.")
    called = rows[_called(run, read, rows, champion)]
    path = run.shop_dir / FILE
    called.to_csv(path, index=False)
    counts = RowCounts(len(rows), len(called), filtered=len(rows) - len(called))
    return StageResult(counts, read, {}, f"{_rule(run, as_of)}, {path}")


def _called(run: Run, read: dict[str, int], rows: pd.DataFrame, champion: str) -> BoolArray:
    p_up_N, attribute = rows["p_up"].to_numpy(), run.config.evaluation.call_by
    if attribute is None:
        return likeliest(p_up_N, run.config.evaluation.call_share)
    thresholds = CallThresholds(**load_evaluation(run)["fairness"]["thresholds"])
    if own_version(run) != champion:
        raise ArtefactError(
            f"the thresholds of {attribute} are of another model: {own_version(run)}, the champion is {champion}. Set"
            " evaluation.call_by to null, or use the configuration of the champion."
        )
    asked = run.tables.spark.createDataFrame(rows[["member_id", "as_of_date"]], "member_id string, as_of_date date")
    (own,) = group_dimensions(run, read, asked, attributes=[attribute], member_N=rows["member_id"].to_list())
    return thresholds.called(p_up_N, names_of(own))


def _rule(run: Run, as_of: date) -> str:
    settings = run.config.evaluation
    by = f"by {settings.call_by}" if settings.call_by else f"the likeliest {settings.call_share:.0%}"
    return f"{by} as of {as_of}"
