"""Bronze: source rows as they came.

In: the files of one source. Out: ``bronze_<source>``, one row per source row, the unparsable ones too, with the file,
its modification time and, for CSV and JSON, the whole line in ``_corrupt_record`` when it could not be parsed. When a
row was ingested is the time of its Delta commit.
"""

from importlib.resources import files

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.config.model import SourceConfig
from memberlevel_spark.errors import ConfigError

CORRUPT = "_corrupt_record"
PACKAGE_SCHEME = "package://"
TEXT_FORMATS = ("csv", "json")
FILE_FORMATS = (*TEXT_FORMATS, "parquet", "orc", "delta", "text")


def read_source(spark: SparkSession, name: str, source: SourceConfig) -> DataFrame:
    """The rows of one source plus ``_file`` and ``_file_ts``; text formats also ``_corrupt_record`` (null when parsed).

    Errors: ConfigError when the path, the format or the declared schema cannot be used.
    """
    path = resolve_path(name, source.path)
    try:
        reader = spark.read.format(source.format).options(**source.options)
        if source.format in TEXT_FORMATS:
            schema = _text_schema(spark, source, path)
            reader = reader.option("mode", "PERMISSIVE").option("columnNameOfCorruptRecord", CORRUPT).schema(schema)
        elif source.read_schema:
            reader = reader.schema(source.read_schema)
        rows = reader.load(path)
        return rows.select("*", *_file_columns(source.format))
    except AnalysisException as problem:
        raise ConfigError(
            f"source {name} cannot be read: {path} ({problem.getCondition()}). Check sources.{name}.path and format."
        ) from None


def resolve_path(name: str, path: str) -> str:
    """A path as Spark takes it; ``package://module/file`` is a data file inside an installed Python package."""
    if not path.startswith(PACKAGE_SCHEME):
        return path
    module, _, inside = path.removeprefix(PACKAGE_SCHEME).partition("/")
    try:
        return str(files(module).joinpath(inside))
    except ModuleNotFoundError:
        raise ConfigError(
            f"source {name} needs a Python package that is not installed: {module}. Install it into this environment."
        ) from None


def _text_schema(spark: SparkSession, source: SourceConfig, path: str) -> T.StructType:
    """The declared schema, else the header's columns as strings, with room for lines that do not parse."""
    reader = spark.read.format(source.format).options(**source.options)
    if source.read_schema:
        reader = reader.schema(source.read_schema)
    kept = [field for field in reader.load(path).schema if field.name != CORRUPT]
    return T.StructType([*kept, T.StructField(CORRUPT, T.StringType())])


def _file_columns(source_format: str) -> list[Column]:
    if source_format not in FILE_FORMATS:
        return [F.lit(None).cast("string").alias("_file"), F.lit(None).cast("timestamp").alias("_file_ts")]
    name, modified = F.col("_metadata.file_name"), F.col("_metadata.file_modification_time")
    return [name.alias("_file"), modified.alias("_file_ts")]
