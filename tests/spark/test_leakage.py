"""The leakage check: three other futures change nothing that is known, and every planted leak is named."""

from dataclasses import replace
from datetime import date

import pytest
from pyspark.sql import DataFrame, SparkSession

from memberlevel_spark.config import Config
from memberlevel_spark.features.futures import Cut
from memberlevel_spark.features.leakage import Pipeline, known_rows, leakage_check
from memberlevel_spark.features.point_in_time import Sources, build_point_in_time
from tests.tiny_shop import tiny_config, tiny_sources

pytestmark = pytest.mark.spark

BY_HAND = {"tier": "gold", "tier_until": "2024-12-31"}
CUT = Cut(date(2024, 6, 1), date(2024, 10, 26), BY_HAND)
DATES = (date(2024, 5, 4), CUT.as_of, date(2024, 6, 29), date(2024, 10, 26))


@pytest.fixture(scope="module")
def config() -> Config:
    return tiny_config()


@pytest.fixture(scope="module")
def sources(spark: SparkSession) -> Sources:
    made = tiny_sources(spark)
    return Sources(made.events.cache(), made.members.cache(), made.products and made.products.cache())


@pytest.fixture(scope="module")
def pipeline(config: Config) -> Pipeline:
    return lambda sources: build_point_in_time(sources, config, dates=DATES)


@pytest.fixture(scope="module")
def expected(pipeline: Pipeline, sources: Sources) -> DataFrame:
    return known_rows(pipeline(sources)).cache()


@pytest.mark.parametrize("as_of", DATES)
def test_features_and_sequences_of_the_shop_are_the_same_to_the_byte_whatever_comes_later(
    as_of: date, pipeline: Pipeline, sources: Sources, expected: DataFrame
):
    known = sum(11 if day < date(2024, 8, 8) else 12 for day in DATES if day <= as_of)
    assert leakage_check(pipeline, replace(CUT, as_of=as_of), sources=sources, expected=expected) == 2 * known
