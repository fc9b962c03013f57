"""The one place that reads and writes Delta: pinned reads, idempotent writes, contracts checked before a write.

A table is the folder ``<root>/<name>``. Each commit carries the run id and the config fingerprint. Writing the same
content again gives a new version with the same rows, never more rows.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from delta.tables import DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.delta_log import latest_version
from memberlevel_spark.errors import ArtefactError, first_five
from memberlevel_spark.schemas import TableContract
from memberlevel_spark.session import has_local_files

USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
# Features of a Delta table that a reader of its plain Parquet files would get wrong.
UNREADABLE_AS_PARQUET = {"deletionVectors", "columnMapping"}
# Bronze by its name: rows in it still have their raw identifiers. No source can have a name that begins with "_".
STAGED = "bronze__staged"
# In the stamp of a commit: the days whose rows it changed, or "all".
DAYS_STAMP = "days"
# Commits by maintenance: other files, the same rows.
KEEPS_ROWS = {"OPTIMIZE", "VACUUM START", "VACUUM END", "REORG"}

Slice = Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class Written:
    """What a write left behind: the table's new version; ``rows`` are counted when somebody asks, and only once."""

    version: int
    count: Callable[[], int]

    @cached_property
    def rows(self) -> int:
        """Number of rows: those written, or those that a slice or a merged table now has."""
        return self.count()


@dataclass(frozen=True)
class Commit:
    """One commit of a table's log, with the ``stamp`` its writer left; empty for commits by others."""

    version: int
    operation: str
    stamp: dict[str, Any]


@dataclass(frozen=True)
class DeltaTables:
    """The tables of one shop under ``root``; ``stamp`` (run id, fingerprint) goes into every commit."""

    spark: SparkSession
    root: str
    stamp: Mapping[str, object]

    def path(self, name: str) -> str:
        """The folder of a table."""
        return f"{self.root}/{name}"

    def stage(self, name: str, rows: DataFrame) -> DataFrame:
        """Put rows aside as Parquet, for the run only: each step that reads them then plans anew, from a short plan."""
        path = f"{self.path(STAGED)}/{name}"
        rows.write.mode("overwrite").parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)

    def unstage(self) -> None:
        """Remove what was staged; what a killed run left goes with the next one."""
        self.spark.range(0).write.mode("overwrite").parquet(self.path(STAGED))

    def exists(self, name: str) -> bool:
        """Whether the table has at least one commit."""
        return DeltaTable.isDeltaTable(self.spark, self.path(name))

    def identity(self, name: str) -> str:
        """The id that Delta gave the table when it was made: one that was removed and made again has another.

        Errors: ArtefactError when the table is missing.
        """
        self.version(name)
        found = DeltaTable.forPath(self.spark, self.path(name)).detail().select("id").collect()
        return str(found[0]["id"])

    def version(self, name: str) -> int:
        """The latest version. Errors: ArtefactError when the table is missing or its log is damaged."""
        # Many times a stage: Delta's history is a query each time, and a local log is a folder to look into.
        listed = latest_version(Path(self.path(name))) if has_local_files(self.spark) else None
        if listed is not None:
            return listed
        if not self.exists(name):
            raise ArtefactError(
                f"a table is missing: {name} ({self.path(name)}). Run the stage that makes it first;"
                " `python -m jobs.pipeline --help` lists them."
            )
        return int(self._last_commit(name)["version"])

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """The rows of one version, the latest when none is given. Errors: ArtefactError for a version that is gone."""
        pinned = self.version(name) if version is None else version
        try:
            frame = self.spark.read.format("delta").option("versionAsOf", pinned).load(self.path(name))
            _ = frame.schema  # a frame is lazy; asking for the columns makes a missing version show here
            return frame
        except AnalysisException as problem:
            raise ArtefactError(
                f"a table version cannot be read: {name} version {pinned} ({problem.getCondition()})."
                " Use a version that has not been vacuumed, or run the stage again."
            ) from None

    def live_files(self, name: str, version: int, folder: str = "") -> tuple[str, ...]:
        """Paths of the Parquet files that belong to one version, of one partition folder (``split=train``), sorted."""
        detail = DeltaTable.forPath(self.spark, self.path(name)).detail().select("tableFeatures").first()
        unreadable = UNREADABLE_AS_PARQUET & set((detail and detail[0]) or ())
        if unreadable:
            raise ArtefactError(
                f"a table cannot be read as plain Parquet: {name} uses {first_five(unreadable)}."
                " Run REORG TABLE ... APPLY (PURGE) and turn the feature off, or rebuild the table."
            )
        files = (_local_path(uri) for uri in self.read(name, version).inputFiles())
        return tuple(sorted(path for path in files if not folder or f"/{folder}/" in path))

    def fits(self, contract: TableContract) -> bool:
        """Whether the table exists and has the contract's columns."""
        return self.exists(contract.name) and self._schema(contract.name) == _plain(contract.schema)

    def differences(self, contract: TableContract) -> tuple[str, ...]:
        """The columns by which the table differs from its contract, sorted; those that may come ``later`` are none."""
        found, wanted = ({*_plain(schema)} for schema in (self._schema(contract.name), contract.schema))
        names = {field.name for field in found ^ wanted}
        return tuple(sorted(names - set(contract.later)))

    def replace(self, contract: TableContract, frame: DataFrame, *, rows_per_file: int | None = None) -> Written:
        """Make ``frame`` the whole content of the table, also when its columns have changed.

        ``rows_per_file`` is the most rows of a file; by default a file takes what its task has.
        """
        self._check(contract, frame)
        if not self.fits(contract):
            self._create(contract)
        return self._write(contract, frame, {"maxRecordsPerFile": str(rows_per_file)} if rows_per_file else {})

    def count(self, name: str, slices: Sequence[Slice]) -> int:
        """Rows of the latest version that lie in any of the slices."""
        return self.read(name).where(_condition(slices)).count()

    def replace_slice(self, contract: TableContract, frame: DataFrame, *slices: Slice) -> Written:
        """Replace the rows of the given slices, leaving every other row as it is.

        A slice maps a column to its values, dates, numbers or plain words: ``{"as_of_date": [...], "model_version":
        [...]}`` is the rows where all of them match. ``Written.rows`` are the rows of the slices afterwards. Columns
        that the contract has ``later`` are added to a table without them.
        Errors: ArtefactError when the table exists with other columns.
        """
        self._check(contract, frame)
        if not self.exists(contract.name):
            self._create(contract)
        elif not self._can_take(contract):
            names = {field.name for field in self._schema(contract.name)} ^ set(contract.schema.names)
            raise ArtefactError(
                f"a table has other columns than this configuration makes: {contract.name} differs in"
                f" {first_five(names) or 'types'}. Rebuild it by running the stage without --as-of."
            )
        condition = _condition(slices)
        options = {"replaceWhere": condition} | ({"mergeSchema": "true"} if contract.later else {})
        self._save(contract, frame, options)
        # Delta's own count includes rows of other slices that shared a rewritten file.
        return self._counted(contract.name, condition)

    def append(self, contract: TableContract, frame: DataFrame, *, app_id: str, batch: int) -> Written:
        """Add one batch of a stream, new columns too; a batch that was added before adds nothing.

        ``Written.rows`` is 0 then, and the version that of the last commit.
        """
        if not self.exists(contract.name):
            self._create(contract)
        before = self.version(contract.name)
        options = {"txnAppId": app_id, "txnVersion": str(batch), "mergeSchema": "true"}
        written = self._write(contract, frame, options, mode="append")
        return written if written.version > before else Written(before, lambda: 0)

    def merge(self, contract: TableContract, frame: DataFrame, *, gone: str) -> Written:
        """Update or add the rows of ``frame`` by the contract's key, and remove those whose column ``gone`` is true.

        Rows of other keys stay as they are. ``Written.rows`` are the rows of the table afterwards.
        """
        self._check(contract, frame.drop(gone))
        same = " AND ".join(f"old.{column} = new.{column}" for column in contract.key)
        columns: dict[str, str | Column] = {column: f"new.{column}" for column in contract.schema.names}
        changed = " OR ".join(
            f"NOT ({column.format('old')} <=> {column.format('new')})" for column in _comparable(contract)
        )
        table = DeltaTable.forPath(self.spark, self.path(contract.name)).alias("old")
        merged = table.merge(frame.alias("new"), same).whenMatchedDelete(f"new.{gone}")
        merged = merged.whenMatchedUpdate(changed, columns).whenNotMatchedInsert(f"NOT new.{gone}", columns)
        with self._stamped():
            merged.execute()
        return self._counted(contract.name, "true")

    def commits(self, name: str, after: int = -1) -> list[Commit]:
        """The commits after a version that are still in the log, newest first; none when the table is missing."""
        if not self.exists(name):
            return []
        history = DeltaTable.forPath(self.spark, self.path(name)).history()
        rows = history.where(F.col("version") > after).select("version", "operation", "userMetadata").collect()
        return [Commit(row[0], row[1], _parsed(row[2])) for row in sorted(rows, reverse=True)]

    def changed_days(self, name: str, after: int) -> tuple[date, ...] | None:
        """Days whose rows changed since a version, ascending, by the stamps of the writers; None where one did not say.

        Also None for a version that never was, or when a commit since then is no longer in the log.
        """
        commits = self.commits(name, after)
        if len(commits) != self.version(name) - after:
            return None
        days = [commit.stamp.get(DAYS_STAMP, "all") for commit in commits if commit.operation not in KEEPS_ROWS]
        if "all" in days:
            return None
        return tuple(sorted({date.fromisoformat(day) for several in days for day in several}))

    def with_stamp(self, **more: object) -> "DeltaTables":
        """The same tables; their next commits also carry ``more``."""
        return replace(self, stamp={**self.stamp, **more})

    def _write(
        self, contract: TableContract, frame: DataFrame, options: Mapping[str, str], mode: str = "overwrite"
    ) -> Written:
        self._save(contract, frame, options, mode)
        commit = self._last_commit(contract.name)
        rows = int(commit["operationMetrics"].get("numOutputRows", 0))
        return Written(int(commit["version"]), lambda: rows)

    def _save(
        self, contract: TableContract, frame: DataFrame, options: Mapping[str, str], mode: str = "overwrite"
    ) -> None:
        writer = frame.write.format("delta").mode(mode).options(**options)
        writer = writer.option("userMetadata", json.dumps(dict(self.stamp), sort_keys=True))
        writer.partitionBy(*contract.partition_by).save(self.path(contract.name))

    def _counted(self, name: str, condition: str) -> Written:
        version = self.version(name)
        return Written(version, lambda: self.read(name, version).where(condition).count())

    @contextmanager
    def _stamped(self) -> Iterator[None]:
        """MERGE takes its commit metadata from the session."""
        self.spark.conf.set(USER_METADATA, json.dumps(dict(self.stamp), sort_keys=True))
        try:
            yield
        finally:
            self.spark.conf.unset(USER_METADATA)

    def _last_commit(self, name: str) -> T.Row:
        commit = DeltaTable.forPath(self.spark, self.path(name)).history(1).first()
        assert commit is not None, f"{name} has no commit"
        return commit

    def _schema(self, name: str) -> T.StructType:
        return _plain(self.spark.read.format("delta").load(self.path(name)).schema)

    def _can_take(self, contract: TableContract) -> bool:
        """Whether the table has the contract's columns, but for the last ones as far as they came later."""
        fields, num_known = _plain(contract.schema).fields, len(self._schema(contract.name).fields)
        new = {field.name for field in fields[num_known:]}
        return self._schema(contract.name).fields == fields[:num_known] and new <= set(contract.later)

    def _create(self, contract: TableContract) -> None:
        """Create, or replace keeping the history: Delta itself then refuses a null in a required column."""
        # createOrReplace refuses a changed schema where a table is known by its path only; replace does not.
        make = DeltaTable.replace if self.exists(contract.name) else DeltaTable.create
        builder = make(self.spark).location(self.path(contract.name)).addColumns(contract.schema)
        if contract.partition_by:
            builder = builder.partitionedBy(*contract.partition_by)
        # Statistics of other columns would cost time and keep their values in the log.
        builder.property("delta.dataSkippingStatsColumns", ",".join(contract.prune_by)).execute()

    def _check(self, contract: TableContract, frame: DataFrame) -> None:
        found, expected = _plain(frame.schema), _plain(contract.schema)
        if found != expected:
            wrong = {f"{field.name} {field.dataType.simpleString()}" for field in {*found} ^ {*expected}}
            raise ArtefactError(
                f"a frame does not fit the contract of {contract.name}: {first_five(wrong) or 'the column order'}."
                " Make the builder's final select follow the contract."
            )


def _comparable(contract: TableContract) -> list[str]:
    """The columns whose values can be compared; maps cannot."""
    return [
        f"to_json({{}}.{field.name})" if isinstance(field.dataType, T.MapType) else f"{{}}.{field.name}"
        for field in contract.schema
    ]


def _parsed(metadata: str | None) -> dict[str, Any]:
    try:
        parsed = json.loads(metadata or "{}")
    except ValueError:
        return {}  # a commit by somebody else, with metadata of their own
    return parsed if isinstance(parsed, dict) else {}


def _plain(schema: T.StructType) -> T.StructType:
    """The schema without nullability and metadata, which Delta and Spark change on the way."""
    return T.StructType([T.StructField(field.name, _nullable(field.dataType)) for field in schema])


def _nullable(kind: T.DataType) -> T.DataType:
    if isinstance(kind, T.ArrayType):
        return T.ArrayType(_nullable(kind.elementType))
    if isinstance(kind, T.MapType):
        return T.MapType(_nullable(kind.keyType), _nullable(kind.valueType))
    return _plain(kind) if isinstance(kind, T.StructType) else kind


def _condition(slices: Sequence[Slice]) -> str:
    every = [" AND ".join(f"{column} IN ({_literals(values)})" for column, values in each.items()) for each in slices]
    return " OR ".join(f"({each})" for each in every)


def _literals(values: Sequence[object]) -> str:
    for value in values:
        assert isinstance(value, date) or re.fullmatch(r"\w+", str(value)), f"not a plain value: {value}"
    return ", ".join(f"'{value}'" for value in values)


def _local_path(uri: str) -> str:
    parts = urlsplit(uri)
    return unquote(parts.path) if parts.scheme in ("", "file") else uri
