"""The stage score: every member known on each as-of date, with the champion."""

from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.build import join_features
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.features.stage import published_meaning
from memberlevel_spark.registry.bundle import Bundle, load_bundle, read_alias
from memberlevel_spark.registry.stage import CHAMPION, registry_dir
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import MEMBER_SCORES
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.ledger import build_scores
from memberlevel_spark.scoring.predictor import PackedModel


def load_champion(run: Run) -> Bundle:
    """The verified champion. Errors: ArtefactError when there is none, or it belongs to another level programme."""
    version = read_alias(registry_dir(run), CHAMPION)
    if version is None:
        raise ArtefactError(
            f"there is no champion to score with: {registry_dir(run)}. Train, evaluate and register a model that passes"
            " the gate."
        )
    bundle = load_bundle(registry_dir(run), version)
    if bundle.files["levels.json"] != run.config.levels.model_dump_json().encode():
        raise ArtefactError(
            f"the champion was trained for another level programme: {version}. Train and register a model for the"
            " present `levels`, or score with the configuration it was trained on."
        )
    return bundle


def run_score(run: Run) -> StageResult:
    """Add the as-of dates' slice of the champion's scores to the ledger; run twice, it stays one slice."""
    bundle = load_champion(run)
    dates = run.as_of_dates or run.config.timeline.score
    read = {name: run.tables.version(name) for name in ("member_features", "member_sequences")}
    features, sequences = (run.tables.read(name, version) for name, version in read.items())
    members = features.where(F.col("as_of_date").isin(list(dates)))
    found = {row["as_of_date"]: row["count"] for row in members.groupBy("as_of_date").count().collect()}
    missing = [str(day) for day in dates if day not in found]
    if missing:
        raise ArtefactError(
            f"there are no features for as-of dates: {', '.join(missing[:5])}. Run features for them first."
        )
    encoder = Encoder.from_json(bundle.text("encoder.json"))
    inputs = join_features(members, sequences)
    encoder.require_columns(inputs)
    encoder.require_meaning(published_meaning(run))
    encoded = inputs.select("member_id", "as_of_date", "level_now", encoder.encode().alias("features"))
    predicted = apply_model(encoded, PackedModel.of(bundle.files), method=run.config.scoring.method)
    scores = build_scores(predicted, bundle.version)
    slices = {"as_of_date": dates, "model_version": [bundle.version]}
    commit = run.tables.replace_slice(MEMBER_SCORES, scores, slices)
    counts = RowCounts(sum(found.values()), commit.rows)
    note = f"champion {bundle.version}, as of {', '.join(map(str, sorted(dates)))}"
    return StageResult(counts, read, {"member_scores": commit.version}, note)
