"""Reading the files of one source: each row as it came, with the file it came from, the unparsable ones too.

In: a list of files. Out: the source's own columns plus ``_file``, ``_file_ts`` (its modification time) and
``_corrupt_record``, the whole line where a line of CSV or JSON could not be parsed.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from importlib.resources import files
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.config.ingest import SourceConfig
from memberlevel_spark.errors import ConfigError, DataQualityError, first_five
from memberlevel_spark.ingest.contracts import contract_problems, parse_schema

CORRUPT, FILE, FILE_TS, BATCH = "_corrupt_record", "_file", "_file_ts", "_batch"
PACKAGE_SCHEME, SHOP_SCHEME = "package://", "shop://"
TEXT_FORMATS = ("csv", "json")
FILE_FORMATS = (*TEXT_FORMATS, "parquet", "orc", "avro", "xml", "text")
# Types guessed from one batch of files would not hold for the next one.
NEVER_GUESSED = {"inferSchema", "mergeSchema", "enforceSchema"}
HEADER_THREADS = 8
# Damage met while Spark looks for a schema comes as the bare Java error.
SPARK_ERRORS = (PySparkException, Py4JJavaError)


def resolve_path(name: str, path: str, shop_dir: Path) -> str:
    """A path as Spark takes it.

    ``package://module/file`` is a data file inside an installed Python package, ``shop://folder`` lies below the
    shop's own output folder.
    """
    if path.startswith(SHOP_SCHEME):
        return str((shop_dir / path.removeprefix(SHOP_SCHEME)).absolute())
    if not path.startswith(PACKAGE_SCHEME):
        return path
    module, _, inside = path.removeprefix(PACKAGE_SCHEME).partition("/")
    try:
        return str(files(module).joinpath(inside))
    except ModuleNotFoundError:
        raise ConfigError(
            f"source {name} needs a Python package that is not installed: {module}. Install it into this environment."
        ) from None


def read_files(spark: SparkSession, name: str, source: SourceConfig, paths: Sequence[str]) -> DataFrame:
    """The rows of the files; columns that some files lack are null there.

    CSV files are read by their own header, so that a moved column stays itself. Columns without a declared type are
    text. Errors: DataQualityError for files that break the declared schema.
    """
    groups = _by_header(spark, source, paths)
    problems = [
        f"{words} in {first_five(group)}"
        for schema, group in groups
        for words in contract_problems(spark, source, schema)
    ]
    if problems:
        raise DataQualityError(
            f"files of source {name} break its declared schema: {'; '.join(problems)}."
            f" Mend the files or sources.{name}.schema, or set sources.{name}.on_bad_file: quarantine."
        )
    frames = [_read_group(spark, source, schema, group) for schema, group in groups]
    return reduce(partial(DataFrame.unionByName, allowMissingColumns=True), frames)


def with_origin(rows: DataFrame) -> DataFrame:
    """Rows of a source that has no files, such as Kafka, with the columns every bronze table has."""
    nothing = {FILE: "string", FILE_TS: "timestamp", CORRUPT: "string"}
    return rows.withColumns({column: F.lit(None).cast(kind) for column, kind in nothing.items()})


def unreadable_files(spark: SparkSession, name: str, source: SourceConfig, paths: Sequence[str]) -> dict[str, str]:
    """The files that cannot be read on their own, each with the condition; asked only after a read has failed."""
    bad: dict[str, str] = {}
    for path in paths:
        try:
            read_files(spark, name, source, [path]).write.format("noop").mode("overwrite").save()
        except DataQualityError:
            bad[path] = "BREAKS_DECLARED_SCHEMA"
        except SPARK_ERRORS as problem:
            bad[path] = condition_of(problem)
    return bad


def condition_of(problem: Exception) -> str:
    """Spark's name for what went wrong, of several the innermost; its words, or the type, where it gives none."""
    named = [name for name in re.findall(r"\[([A-Z][A-Z_.]+)\]", str(problem)) if name != "STREAM_FAILED"]
    words = re.search(r"terminated with exception: (.{1,120})", str(problem))
    return named[-1] if named else words[1] if words else type(problem).__name__


def unreadable_rows(spark: SparkSession, bad: dict[str, str]) -> DataFrame:
    """One row for each file that cannot be read, to stand for it in bronze."""
    rows = [(path, f"unreadable file: {condition}") for path, condition in sorted(bad.items())]
    frame = spark.createDataFrame(rows, f"{FILE} string, {CORRUPT} string")
    return frame.select(FILE, F.lit(None).cast("timestamp").alias(FILE_TS), CORRUPT)


def declared_schema(source: SourceConfig) -> T.StructType | None:
    """The ``schema`` of the YAML (a DDL string), None when there is none."""
    return parse_schema(source.read_schema) if source.read_schema else None


def _by_header(
    spark: SparkSession, source: SourceConfig, paths: Sequence[str]
) -> list[tuple[T.StructType, Sequence[str]]]:
    """Groups of files with the same columns, in the order of their first file, each with the schema to read it with."""
    if source.format != "csv" or source.options.get("header", "false").lower() != "true":
        return [(_schema(spark, source, paths), paths)]
    with ThreadPoolExecutor(HEADER_THREADS) as pool:
        headers = pool.map(lambda path: tuple(_reader(spark, source).csv(path).columns), paths)
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, header in zip(paths, headers, strict=True):
        groups[header].append(path)
    declared = {field.name: field.dataType for field in declared_schema(source) or ()}
    return [
        (T.StructType([T.StructField(column, declared.get(column, T.StringType())) for column in header]), group)
        for header, group in groups.items()
    ]


def _schema(spark: SparkSession, source: SourceConfig, paths: Sequence[str]) -> T.StructType:
    declared = declared_schema(source)
    if declared is not None and source.format in TEXT_FORMATS:
        return declared
    found = _reader(spark, source).load(list(paths)).schema
    return T.StructType([field for field in found if field.name != CORRUPT])


def _read_group(spark: SparkSession, source: SourceConfig, schema: T.StructType, paths: Sequence[str]) -> DataFrame:
    reader = _reader(spark, source)
    if source.format in TEXT_FORMATS and not schema.fields:
        # Empty files, or JSON of which no line could be parsed.
        rows = spark.read.text(list(paths))
        return rows.select(*_origin(), F.col("value").alias(CORRUPT))
    if source.format in TEXT_FORMATS:
        reader = reader.option("mode", "PERMISSIVE").option("columnNameOfCorruptRecord", CORRUPT)
        # A nullable copy: a null in a column declared NOT NULL is for the rules to judge.
        columns = [T.StructField(field.name, field.dataType) for field in schema]
        reader = reader.schema(T.StructType([*columns, T.StructField(CORRUPT, T.StringType())]))
    rows = reader.load(list(paths))
    if CORRUPT not in rows.columns:
        rows = rows.withColumn(CORRUPT, F.lit(None).cast("string"))
    own = [F.col(f"`{column}`") for column in rows.columns if column != CORRUPT]
    return rows.select(*own, *_origin(), CORRUPT)


def _origin() -> list[Column]:
    return [F.col("_metadata.file_path").alias(FILE), F.col("_metadata.file_modification_time").alias(FILE_TS)]


def _reader(spark: SparkSession, source: SourceConfig):  # type: ignore[no-untyped-def]
    options = {key: value for key, value in source.options.items() if key not in NEVER_GUESSED}
    reader = spark.read.format(source.format).options(**options)
    if source.format in ("parquet", "orc"):
        return reader.option("mergeSchema", "true")
    return reader.option("primitivesAsString", "true") if source.format == "json" else reader
