"""Bronze: source rows as they came, each exactly once.

In: a source. Out: ``bronze_<source>``, one row per source row, the unparsable ones too, with the file, its
modification time, the line that could not be parsed, the ingest time and the batch.

One stream per source finds what is new: run once (``availableNow``) by a scheduled job, or continuously. A stream of
files carries names only; their content is read per batch, so that each file is read by its own header and a damaged
one can be named. A batch is one commit, marked with the stream's batch id (txnAppId, txnVersion): a batch that is
repeated after a crash adds nothing.
"""

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from pyspark.errors import AnalysisException, StreamingQueryException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from memberlevel_spark.config.ingest import SourceConfig
from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError, MemberLevelError, first_five
from memberlevel_spark.ingest.reader import (
    BATCH,
    FILE_FORMATS,
    SPARK_ERRORS,
    condition_of,
    read_files,
    resolve_path,
    unreadable_files,
    unreadable_rows,
    with_origin,
)
from memberlevel_spark.schemas import bronze_contract
from memberlevel_spark.tables import DeltaTables, Written

log = logging.getLogger("memberlevel_spark")
INGESTED_AT = "_ingested_at"
FILE_LIST = "path string, modificationTime timestamp, length long, content binary"


@dataclass
class BronzeSource:
    """One source on its way into its bronze table; ``written`` are the commits of this run, in order."""

    name: str
    settings: SourceConfig
    tables: DeltaTables
    shop_dir: Path
    files_per_batch: int
    written: list[Written] = field(default_factory=list)
    problem: MemberLevelError | None = None
    last_batch: int = -1  # in the table; -1 while it has no row
    log_level: int = logging.DEBUG  # of the line for each batch: a stream that goes on shows what it does

    @property
    def table(self) -> str:
        """The bronze table's name."""
        return f"bronze_{self.name}"

    @property
    def checkpoint(self) -> Path:
        """Where the stream remembers what it has taken."""
        return self.shop_dir / "checkpoints" / self.name

    @property
    def path(self) -> str:
        """The source's path as Spark takes it; empty for sources without one."""
        return resolve_path(self.name, self.settings.path, self.shop_dir) if self.settings.path else ""

    def start(self, *, every_seconds: int | None = None) -> StreamingQuery:
        """Start the stream: until everything there now is taken, or, with ``every_seconds``, until it is stopped.

        Errors: ConfigError when the source cannot be read, ArtefactError when the checkpoint is lost.
        """
        self._require_checkpoint()
        self.log_level = logging.INFO if every_seconds else logging.DEBUG
        try:
            stream = self._stream()
        except AnalysisException as problem:
            raise self._cannot_be_read(problem.getCondition() or "") from None
        trigger = {"processingTime": f"{every_seconds} seconds"} if every_seconds else {"availableNow": True}
        writer = stream.writeStream.queryName(self.table).foreachBatch(self._caught)
        return writer.option("checkpointLocation", str(self.checkpoint)).trigger(**trigger).start()

    def has_rows(self) -> bool:
        """Whether the bronze table has any row; once the stream was started."""
        return self.last_batch >= 0

    def finish(self, query: StreamingQuery) -> MemberLevelError | None:
        """Wait until the stream ends. Returns what made it stop, in our words; None when it came to its end."""
        try:
            query.awaitTermination()
        except StreamingQueryException as failure:
            return self.problem or DataQualityError(
                f"the stream of source {self.name} stopped: {condition_of(failure)}."
                f" Look into runs/spark.log, mend the source and run bronze again; nothing is lost or doubled."
            )
        return None

    def _stream(self) -> DataFrame:
        spark = self.tables.spark
        if self.settings.format not in FILE_FORMATS:
            reader = spark.readStream.format(self.settings.format).options(**self.settings.options)
            return with_origin(reader.load(self.path) if self.path else reader.load())
        reader = spark.readStream.format("binaryFile").schema(FILE_LIST)
        reader = reader.option("maxFilesPerTrigger", self.files_per_batch)
        folder, name = self._folder_and_name()
        # Only one of the two: a file of that name further down is another one.
        reader = reader.option("pathGlobFilter", name) if name else reader.option("recursiveFileLookup", "true")
        return reader.load(folder).select("path")

    def _folder_and_name(self) -> tuple[str, str]:
        """A stream takes folders only: a single file is its folder and its own name."""
        listed = self.tables.spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(self.path)
        found = listed.inputFiles()
        plain = self.path.rstrip("/")
        if len(found) == 1 and found[0].endswith(plain.split("://")[-1]):
            folder, _, name = plain.rpartition("/")
            return folder or ".", name
        return self.path, ""

    def _caught(self, rows: DataFrame, batch: int) -> None:
        """Spark turns what a batch raises into text; ours is kept as it is."""
        try:
            self._append(rows, batch)
        except MemberLevelError as problem:
            self.problem = problem
            raise

    def _append(self, rows: DataFrame, batch: int) -> None:
        if batch <= self.last_batch:
            return  # written before: the job was stopped between the table's commit and the checkpoint's
        if self.settings.format not in FILE_FORMATS:
            self._commit(rows, batch)
            return
        paths = [row["path"] for row in rows.orderBy("path").collect()]
        unseen = self._planned(batch) - {_plain(path) for path in paths}
        bad = {path: "FILE_IS_GONE" for path in unseen if not self._is_there(path)}
        if not bad:
            try:
                self._commit(read_files(self.tables.spark, self.name, self.settings, paths), batch)
                return
            except (*SPARK_ERRORS, DataQualityError) as problem:
                # Damage shows only when a file is read. The commit was undone as a whole: nothing is in the table.
                bad = unreadable_files(self.tables.spark, self.name, self.settings, paths)
                if not bad or (self.settings.on_bad_file == "fail" and isinstance(problem, DataQualityError)):
                    raise
        self._commit(self._without(bad, paths), batch)

    def _commit(self, rows: DataFrame, batch: int) -> None:
        stamped = rows.withColumns({BATCH: F.lit(batch).cast("bigint"), INGESTED_AT: F.current_timestamp()})
        contract = bronze_contract(self.name, [column for column in stamped.schema if column.name[0] != "_"])
        ordered = stamped.select(*[f"`{name}`" for name in contract.schema.names])
        commit = self.tables.append(contract, ordered, app_id=self.table, batch=batch)
        log.log(
            self.log_level, "%s: batch %d, %s rows, version %d", self.name, batch, f"{commit.rows:,}", commit.version
        )
        self.written.append(commit)
        self.last_batch = batch if commit.rows else self.last_batch

    def _without(self, bad: dict[str, str], paths: list[str]) -> DataFrame:
        """The rows of the good files, and a row for each bad one. Errors: DataQualityError unless that is allowed."""
        if self.settings.on_bad_file == "fail":
            named = first_five(f"{path} ({condition})" for path, condition in bad.items())
            raise DataQualityError(
                f"files of source {self.name} cannot be read: {named}. Put them back whole and run bronze again, or"
                f" set sources.{self.name}.on_bad_file: quarantine to go on without them."
            )
        rows = unreadable_rows(self.tables.spark, bad)
        good = [path for path in paths if path not in bad]
        if not good:
            return rows
        return read_files(self.tables.spark, self.name, self.settings, good).unionByName(rows, allowMissingColumns=True)

    def _planned(self, batch: int) -> set[str]:
        """The files in the stream's own log of a batch; the batch itself silently lacks deleted and empty ones."""
        entries_dir = self.checkpoint / "sources" / "0"
        entry = F.from_json("value", "path string, batchId long").alias("entry")
        entries = (
            self.tables.spark.read.text(f"{entries_dir}/{{{batch},{batch}.compact}}").select(entry).select("entry.*")
        )
        return {_plain(unquote(row["path"])) for row in entries.where(F.col("batchId") == batch).collect()}

    def _is_there(self, path: str) -> bool:
        try:
            self.tables.spark.read.format("binaryFile").load(path)
        except AnalysisException:
            return False
        return True

    def _require_checkpoint(self) -> None:
        remembered = (self.checkpoint / "commits").is_dir() and any((self.checkpoint / "commits").iterdir())
        exists = self.tables.exists(self.table)
        if exists:
            row = self.tables.read(self.table).agg(F.max(BATCH)).first()
            self.last_batch = -1 if row is None or row[0] is None else int(row[0])
        if self.last_batch >= 0 and not (self.checkpoint / "metadata").is_file():
            raise ArtefactError(
                f"the streaming checkpoint of source {self.name} is lost: {self.checkpoint}. A new one would read"
                f" every file again. {self._repair()}"
            )
        planned = max((int(path.name) for path in self.checkpoint.glob("offsets/[0-9]*")), default=-1)
        if planned < self.last_batch:
            # It would plan a batch of that number again, with other files, which then would be taken for a repeat.
            raise ArtefactError(
                f"the streaming checkpoint of source {self.name} is behind its table: it knows batches up to {planned},"
                f" {self.table} holds batch {self.last_batch}. {self._repair()}"
            )
        if remembered and not exists:
            raise ArtefactError(
                f"the bronze table of source {self.name} is lost: {self.tables.path(self.table)}. Its checkpoint says"
                f" that every file was taken, so they would be skipped. {self._repair()}"
            )

    def _repair(self) -> str:
        return (
            f"Restore it from a backup, or remove both {self.checkpoint} and {self.tables.path(self.table)}"
            " to read the source anew."
        )

    def _cannot_be_read(self, condition: str) -> ConfigError:
        return ConfigError(
            f"source {self.name} cannot be read: {self.path or self.settings.format} ({condition})."
            f" Check sources.{self.name}.path and format."
        )


def _plain(path: str) -> str:
    """One spelling: local files are ``file:/x`` in one place and ``file:///x`` in another."""
    return re.sub("^file:/+", "/", path)
