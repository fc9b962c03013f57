"""The job embeddings: members' last events as vectors of numbers, for any use beside the forecasts.

In: features and sequences of some as-of dates, the encoder that a pretraining left. Out: ``member_embeddings``, one row
per member, as-of date and encoder; a member without events has a row too.
"""

import hashlib
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.forecast_schemas import MEMBER_EMBEDDINGS
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.scoring.apply import feature_matrix, with_result
from memberlevel_spark.scoring.members import encode_members
from memberlevel_spark.scoring.predictor import PackedModel, embed
from memberlevel_spark.training.stage import ENCODER, pretrained_files

KEPT = "member_id string, as_of_date date, num_events int"


def run_embeddings(run: Run) -> StageResult:
    """Add the as-of dates' slice of this encoder's embeddings; run twice, it stays one slice."""
    files, dates = pretrained_files(run), run.as_of_dates or run.config.timeline.score
    encoder, model = Encoder.from_json(files[ENCODER].decode("utf-8")), PackedModel.of(files)
    encoded = encode_members(run, encoder, dates, kept=("num_events",))
    version = "p" + hashlib.sha256(model.weights).hexdigest()[:12]
    embedded = build_embeddings(encoded.rows, model, version)
    commit = run.tables.replace_slice(MEMBER_EMBEDDINGS, embedded, {"as_of_date": dates, "encoder_version": [version]})
    note = f"encoder {version}, as of {', '.join(map(str, sorted(dates)))}"
    counts = RowCounts(encoded.num_rows, commit.rows)
    return StageResult(counts, encoded.read, {"member_embeddings": commit.version}, note)


def build_embeddings(encoded: DataFrame, model: PackedModel, version: str) -> DataFrame:
    """Embed every row of member_id, as_of_date, num_events and ``features``."""
    inputs = encoded.select("member_id", "as_of_date", "num_events", "features")
    embedded = inputs.mapInArrow(_mapper(model), f"{KEPT}, embedding array<float>")
    return embedded.withColumn("encoder_version", F.lit(version)).select(*MEMBER_EMBEDDINGS.schema.names)


def _mapper(model: PackedModel) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def embedded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield with_result(batch, embed(model, feature_matrix(batch.column("features"))), name="embedding")

    return embedded
