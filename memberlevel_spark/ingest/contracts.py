"""Schema contracts of the sources, held by pandera: the columns a source promises must be there, with their types.

Only schemas are compared, no row is looked at: rows are judged by the rules of ``mapping`` and of the YAML.
"""

import os

from pyspark.sql import SparkSession
from pyspark.sql import types as T

from memberlevel_spark.config.ingest import SourceConfig

# Before the import, which reads it: looking at rows would be a Spark job for each column.
os.environ.setdefault("PANDERA_VALIDATION_DEPTH", "SCHEMA_ONLY")

import pandera.pyspark as pandera

WORDS = {"COLUMN_NOT_IN_DATAFRAME": "column {} is missing", "WRONG_DATATYPE": "column {} has another type"}


def parse_schema(ddl: str) -> T.StructType:
    """A schema from its DDL text, as in ``id string NOT NULL, paid decimal(9,2)``."""
    parsed = T.StructType.fromDDL(ddl)
    assert isinstance(parsed, T.StructType)
    return parsed


def contract_problems(spark: SparkSession, source: SourceConfig, found: T.StructType) -> list[str]:
    """What in ``found`` breaks the source's declared ``schema``, in words; empty when nothing does or none is declared.

    A column declared ``NOT NULL`` must be there; others may be missing. Further columns are welcome.
    """
    if not source.read_schema:
        return []
    columns = {
        field.name: pandera.Column(field.dataType, nullable=True, required=not field.nullable)  # type: ignore[arg-type]
        for field in parse_schema(source.read_schema)
    }
    schema = pandera.DataFrameSchema(columns)
    checked = schema.validate(spark.createDataFrame([], found))
    errors = checked.pandera.errors.get("SCHEMA", {})  # type: ignore[operator]
    return [
        WORDS.get(reason, reason.lower() + ": {}").format(error["column"])
        for reason, group in errors.items()
        for error in group
    ]
