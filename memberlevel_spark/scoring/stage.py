"""The stage score: every member known on each as-of date, with the champion."""

from pyspark.sql import functions as F

from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.next_category import named
from memberlevel_spark.forecast_schemas import CURRENT_SCORES, MEMBER_SCORES
from memberlevel_spark.registry.canary import check_canaries
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.ledger import build_scores
from memberlevel_spark.scoring.members import encode_members
from memberlevel_spark.scoring.predictor import PackedModel


def run_score(run: Run) -> StageResult:
    """Add the as-of dates' slice of the champion's scores to the ledger; run twice, it stays one slice.

    ``current_scores`` are then the champion's rows of the latest date in the ledger, for those who ask for no history.
    """
    bundle = load_champion(run)
    check_canaries(bundle.version, bundle.files)
    dates = run.as_of_dates or run.config.timeline.score
    encoder = Encoder.from_json(bundle.text("encoder.json"))
    encoded = encode_members(run, encoder, dates, kept=("level_now",))
    model = PackedModel.of(bundle.files)
    predicted = apply_model(encoded.rows, model, method=run.config.scoring.method)
    told = named(encoder.next_categories) if model.spec.next_categories else ()
    scores = build_scores(predicted, bundle.version, told)
    slices = {"as_of_date": dates, "model_version": [bundle.version]}
    commit = run.tables.replace_slice(MEMBER_SCORES, scores, slices)
    own = run.tables.read(MEMBER_SCORES.name, commit.version).where(F.col("model_version") == bundle.version)
    latest = own.agg(F.max("as_of_date")).collect()[0][0]
    current = run.tables.replace(CURRENT_SCORES, own.where(F.col("as_of_date") == F.lit(latest)))
    counts = RowCounts(encoded.num_rows, commit.rows)
    note = f"champion {bundle.version}, as of {', '.join(map(str, sorted(dates)))}"
    written = {MEMBER_SCORES.name: commit.version, CURRENT_SCORES.name: current.version}
    return StageResult(counts, encoded.read, written, note)
