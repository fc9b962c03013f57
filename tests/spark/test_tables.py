"""Delta reads and writes: contracts, slices, pinned versions, live files."""

import json
from datetime import date
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.schemas import INT, STRING, TableContract, optional, required
from memberlevel_spark.tables import DeltaTables

pytestmark = pytest.mark.spark

CONTRACT = TableContract(
    "things",
    ("member_id", "as_of_date"),
    T.StructType([required("member_id", STRING), required("as_of_date", T.DateType()), optional("n", INT)]),
    prune_by=("as_of_date",),
)
MONDAY, TUESDAY = date(2024, 1, 1), date(2024, 1, 2)


@pytest.fixture
def tables(spark: SparkSession, tmp_path: Path) -> DeltaTables:
    return DeltaTables(spark, str(tmp_path), {"run_id": "r1", "fingerprint": "f1"})


def frame(tables: DeltaTables, *rows: tuple[object, ...], schema: T.StructType = CONTRACT.schema) -> DataFrame:
    return tables.spark.createDataFrame(list(rows), T.StructType([T.StructField(f.name, f.dataType) for f in schema]))


def content(tables: DeltaTables) -> list[tuple[object, ...]]:
    return sorted(tuple(row) for row in tables.read("things").collect())


def test_a_write_says_version_and_rows_and_stamps_the_commit(tables: DeltaTables):
    written = tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1), ("b", MONDAY, None)))
    assert (written.rows, written.version) == (2, tables.version("things"))
    commit = DeltaTable.forPath(tables.spark, tables.path("things")).history(1).first()
    assert commit is not None and json.loads(commit["userMetadata"]) == {"run_id": "r1", "fingerprint": "f1"}


def test_a_slice_is_replaced_alone_and_twice_is_once(tables: DeltaTables):
    tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1), ("a", TUESDAY, 2)))
    for _ in range(2):
        written = tables.replace_slice(CONTRACT, frame(tables, ("b", TUESDAY, 3)), {"as_of_date": [TUESDAY]})
        assert written.rows == 1
    assert content(tables) == [("a", MONDAY, 1), ("b", TUESDAY, 3)]


def test_rows_that_are_counted_late_are_those_of_the_version_that_was_written(tables: DeltaTables):
    monday = {"as_of_date": [MONDAY]}
    first = tables.replace_slice(CONTRACT, frame(tables, ("a", MONDAY, 1), ("b", MONDAY, 2)), monday)
    second = tables.replace_slice(CONTRACT, frame(tables, ("a", MONDAY, 1)), monday)
    gone = frame(tables, ("a", MONDAY, 1)).withColumn("gone", F.lit(True))
    third = tables.merge(CONTRACT, gone, gone="gone")
    assert [written.rows for written in (third, second, first)] == [0, 1, 2]


def test_the_latest_version_is_the_last_commits_whoever_made_it(tables: DeltaTables):
    tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1)))
    before = tables.version("things")
    by_hand = frame(tables, ("b", MONDAY, 1)).write.format("delta").mode("append")
    by_hand.save(tables.path("things"))
    assert tables.version("things") == before + 1
    last = DeltaTable.forPath(tables.spark, tables.path("things")).history(1).first()
    assert last is not None and last["version"] == before + 1


def test_where_paths_are_of_a_clusters_file_system_no_local_folder_is_looked_into(
    tables: DeltaTables, monkeypatch: pytest.MonkeyPatch
):
    tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1)))
    monkeypatch.setattr(DeltaTables, "exists", lambda *_: True)
    monkeypatch.setattr(DeltaTables, "_last_commit", lambda *_: {"version": 99})
    assert tables.version("things") < 99
    settings = tables.spark.sparkContext._jsc.hadoopConfiguration()
    own = settings.get("fs.defaultFS")
    settings.set("fs.defaultFS", "hdfs://cluster:8020")
    try:
        assert tables.version("things") == 99
    finally:
        settings.set("fs.defaultFS", own)


def test_a_slice_of_a_table_that_is_not_there_yet_makes_it(tables: DeltaTables):
    tables.replace_slice(CONTRACT, frame(tables, ("b", TUESDAY, 3)), {"as_of_date": [TUESDAY], "member_id": ["b"]})
    assert content(tables) == [("b", TUESDAY, 3)]


def test_a_row_outside_the_slice_is_refused_and_nothing_changes(tables: DeltaTables):
    tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1)))
    with pytest.raises(PySparkException):
        tables.replace_slice(CONTRACT, frame(tables, ("b", MONDAY, 3)), {"as_of_date": [TUESDAY]})
    assert content(tables) == [("a", MONDAY, 1)]


def test_a_null_in_a_required_column_is_refused(tables: DeltaTables):
    # Delta raises it as a bare Java error, which `spark_errors.explain` translates.
    with pytest.raises(Py4JJavaError, match=r"DELTA_NOT_NULL_CONSTRAINT_VIOLATED"):
        tables.replace(CONTRACT, frame(tables, (None, MONDAY, 1)))


def test_an_old_version_stays_readable_and_a_version_that_never_was_is_an_error(tables: DeltaTables):
    first = tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1)))
    tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 2)))
    assert [row.n for row in tables.read("things", first.version).collect()] == [1]
    with pytest.raises(ArtefactError, match=r"a table version cannot be read: things version 99 \(DELTA_"):
        tables.read("things", 99)


def test_a_missing_table_says_which_stage_to_run(tables: DeltaTables):
    with pytest.raises(ArtefactError, match=r"a table is missing: things .* Run the stage that makes it first"):
        tables.version("things")


def test_a_frame_that_does_not_follow_the_contract_is_refused(tables: DeltaTables):
    wrong = T.StructType([*CONTRACT.schema.fields[:2], optional("n", STRING)])
    with pytest.raises(ArtefactError, match=r"does not fit the contract of things: n int, n string"):
        tables.replace(CONTRACT, frame(tables, ("a", MONDAY, "1"), schema=wrong))


def test_new_columns_need_a_rebuild_of_the_whole_table(tables: DeltaTables):
    tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1)))
    wider = TableContract(
        "things", CONTRACT.key, T.StructType([*CONTRACT.schema.fields, optional("m", INT)]), ("as_of_date",)
    )
    rows = frame(tables, ("a", MONDAY, 1, 2), schema=wider.schema)
    with pytest.raises(
        ArtefactError, match=r"other columns than this configuration makes: things differs in m. Rebuild"
    ):
        tables.replace_slice(wider, rows, {"as_of_date": [MONDAY]})
    tables.replace(wider, rows)
    assert content(tables) == [("a", MONDAY, 1, 2)]


def test_a_column_that_came_later_is_added_and_null_in_older_rows(tables: DeltaTables):
    tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1), ("a", TUESDAY, 2)))
    list_of = T.ArrayType(T.StructType([optional("name", STRING)]), containsNull=False)
    columns = T.StructType([*CONTRACT.schema.fields, optional("m", list_of)])
    wider = TableContract("things", CONTRACT.key, columns, ("as_of_date",), later=("m",))
    rows = frame(tables, ("b", TUESDAY, 3, [("x",)]), schema=columns)
    for _ in range(2):
        assert tables.replace_slice(wider, rows, {"as_of_date": [TUESDAY]}).rows == 1
        assert content(tables) == [("a", MONDAY, 1, None), ("b", TUESDAY, 3, [("x",)])]
    assert tables.fits(wider)
    with pytest.raises(ArtefactError, match=r"other columns than this configuration makes: things differs in m"):
        tables.replace_slice(CONTRACT, frame(tables, ("a", MONDAY, 1)), {"as_of_date": [MONDAY]})
    other = TableContract("things", CONTRACT.key, T.StructType([*columns, optional("k", INT)]), later=("m",))
    with pytest.raises(ArtefactError, match=r"things differs in k"):
        tables.replace_slice(other, frame(tables, schema=other.schema), {"as_of_date": [MONDAY]})


def test_live_files_are_those_of_one_version_and_folder_only(tables: DeltaTables):
    contract = TableContract("things", CONTRACT.key, CONTRACT.schema, ("as_of_date",), partition_by=("member_id",))
    first = tables.replace(contract, frame(tables, ("a", MONDAY, 1), ("b", MONDAY, 1)))
    second = tables.replace(contract, frame(tables, ("a", TUESDAY, 1)))
    old, new = (tables.live_files("things", written.version, "member_id=a") for written in (first, second))
    assert len(old) == len(new) == 1 and old != new
    assert all(Path(path).is_file() for path in (*old, *new))
    assert tables.live_files("things", second.version, "member_id=b") == ()


def test_a_table_with_deletion_vectors_is_not_read_as_plain_parquet(tables: DeltaTables):
    written = tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1)))
    path = tables.path("things").replace("`", "")
    tables.spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = true)")
    with pytest.raises(ArtefactError, match=r"things uses deletionVectors. Run REORG TABLE"):
        tables.live_files("things", written.version, "x=1")


def test_differences_are_the_columns_that_miss_are_too_many_or_have_another_type(tables: DeltaTables):
    tables.replace(CONTRACT, frame(tables, ("a", MONDAY, 1)))
    assert tables.differences(CONTRACT) == ()
    other = [*CONTRACT.schema.fields[:1], required("as_of_date", STRING), optional("m", INT), optional("late", INT)]
    changed = TableContract("things", CONTRACT.key, T.StructType(other), later=("late",))
    assert tables.differences(changed) == ("as_of_date", "m", "n")
