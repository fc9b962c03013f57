"""The last events at the end of the encoded array."""

import math

import pytest
from pyspark.sql import SparkSession

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.examples.event_inputs import EventInputs
from memberlevel_spark.schemas import EVENT_ARRAYS

pytestmark = pytest.mark.spark

READ = EventInputs(num_events=2, sizes=(8, 4, 3, 1025, 25, 8), meaning="as fitted")
ENCODER = Encoder((Input("x"),), 2, (0.0,), (1.0,), (Need("spend_cents", 1, always=7.0),), READ)


def event_rows(spark: SparkSession):
    """A member with one event, of 22,025 cents a day ago and an hour after the one before, and one with none."""
    one = {
        "event_type": [3, 0],
        "age_seconds": [86_400, 0],
        "gap_seconds": [3_600, 0],
        "amount_log": [10.0, 0.0],
        "hour": [24, 0],
        "weekday": [7, 0],
        "category": [2, 0],
        "channel": [1, 0],
        "product_bucket": [1024, 0],
    }
    none = {name: [0 * value for value in values] for name, values in one.items()}
    kinds = ", ".join(f"{name} array<{kind.simpleString()}>" for name, kind in EVENT_ARRAYS.items())
    rows = [(0, 1, 0, *(events[name] for name in EVENT_ARRAYS)) for events in (one, none)]
    return spark.createDataFrame(rows, f"x int, level_now int, level_if_idle int, {kinds}")


def test_events_come_last_field_by_field_with_the_newest_first_and_times_in_logarithms(spark: SparkSession):
    one, none = (row[0] for row in event_rows(spark).select(ENCODER.encode()).collect())
    assert one[:4] == none[:4] == [0.0, 0.0, 1.0, 7.0]
    assert one[4:16] == [3, 0, 2, 0, 1, 0, 1024, 0, 24, 0, 7, 0]
    hour_or_day = math.log(2) / 5
    assert one[16:] == pytest.approx([1.0, 0, hour_or_day, 0, hour_or_day, 0])
    assert none[4:] == [0.0] * 18
    assert (len(ENCODER.names), ENCODER.num_features) == (4, 22)


def test_an_encoder_with_events_is_kept_whole_and_names_the_table_it_reads(spark: SparkSession):
    assert Encoder.from_json(ENCODER.to_json()) == ENCODER
    assert ENCODER.tables == ("member_features", "member_sequences", "member_event_sequences")
    ENCODER.require_meaning({"member_event_sequences": "as fitted"})
    with pytest.raises(ArtefactError, match="than the model was trained on: member_event_sequences"):
        ENCODER.require_meaning({"member_event_sequences": "another vocabulary"})
