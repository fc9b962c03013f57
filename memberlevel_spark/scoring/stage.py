"""The stage score: every member known on each as-of date, with the champion."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.next_category import named
from memberlevel_spark.forecast_schemas import CURRENT_SCORES, MEMBER_SCORES
from memberlevel_spark.registry.canary import check_canaries
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.incremental import Scored, incremental_scores
from memberlevel_spark.scoring.ledger import build_scores
from memberlevel_spark.scoring.members import encode_members
from memberlevel_spark.scoring.parity import prove_parity, sample_of
from memberlevel_spark.scoring.predictor import PackedModel
from memberlevel_spark.scoring.trained_features import compare_with_training


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
    sample = sample_of(encoded.rows, run.config.scoring.proof_members)
    parity = prove_parity(sample, model, method=run.config.scoring.method)
    compared = compare_with_training(run, bundle, encoder)
    slices = {"as_of_date": dates, "model_version": [bundle.version]}
    with _scored(run, bundle.version, model, encoder, encoded.rows, dates) as scored:
        ledger = run.tables.with_stamp(
            inputs=encoded.read, kept=scored.num_kept, parity=parity, compared=compared.num_members
        )
        commit = ledger.replace_slice(MEMBER_SCORES, scored.rows, slices)
    own = run.tables.read(MEMBER_SCORES.name, commit.version).where(F.col("model_version") == bundle.version)
    latest = own.agg(F.max("as_of_date")).collect()[0][0]
    current = run.tables.replace(CURRENT_SCORES, own.where(F.col("as_of_date") == F.lit(latest)))
    counts = RowCounts(encoded.num_rows, commit.rows)
    note = f"champion {bundle.version}, as of {', '.join(map(str, sorted(dates)))}"
    if run.incremental:
        note += f", {_told(scored.num_kept, commit.rows)}"
    if compared.why_not:
        note += f", features not compared with those of training: {compared.why_not}"
    written = {MEMBER_SCORES.name: commit.version, CURRENT_SCORES.name: current.version}
    return StageResult(counts, encoded.read, written, note)


@contextmanager
def _scored(
    run: Run, model_version: str, model: PackedModel, encoder: Encoder, encoded: DataFrame, dates: Sequence[date]
) -> Iterator[Scored]:
    """The rows of ``member_scores`` of encoded members, all of them computed, or only those who have changed."""
    told = named(encoder.next_categories) if model.spec.next_categories else ()
    hashed = encoded.withColumn("features_hash", F.xxhash64("features"))  # equal for equal arrays

    def score(members: DataFrame) -> DataFrame:
        predicted = apply_model(members, model, method=run.config.scoring.method, extra=("features_hash",))
        return build_scores(predicted, model_version, told)

    if run.incremental:
        with incremental_scores(run, hashed, score, model_version, dates) as scored:
            yield scored
    else:
        yield Scored(score(hashed), 0)


def _told(num_kept: int, num_rows: int) -> str:
    if not num_kept:
        return f"all {num_rows:,} rows computed: this model has scored nobody with the same features"
    return f"{num_kept:,} rows kept, {num_rows - num_kept:,} computed"
