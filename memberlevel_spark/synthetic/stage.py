"""The job world: make the shop's files and the truth behind them.

In: the configuration's ``world:`` section. Out: ``raw/<source>/`` below the shop's folder, and the Delta tables
``truth_members``, ``truth_levels``, ``truth_campaigns`` and ``truth_defects``. Members stream through the tasks; only
names of files come to the driver, and the few lines that carry defects are made there.
"""

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.schemas import TableContract
from memberlevel_spark.synthetic.contracts import TRUTH_CAMPAIGNS, TRUTH_DEFECTS, TRUTH_LEVELS, TRUTH_MEMBERS
from memberlevel_spark.synthetic.defect_lines import counts_of
from memberlevel_spark.synthetic.defects import DEFECTS
from memberlevel_spark.synthetic.delivery import deliver
from memberlevel_spark.synthetic.files import SOURCES
from memberlevel_spark.synthetic.frames import by_member, shop_lines
from memberlevel_spark.synthetic.plan import WorldPlan, plan_of
from memberlevel_spark.synthetic.truth_rows import campaign_rows, level_truth, member_truth

REPEATED = "repeated"


def run_world(run: Run) -> StageResult:
    """Write the files, then the truth; a row is a line of a file."""
    plan, seen = plan_of(run.config), Observation("lines")
    rows = shop_lines(run.tables.spark, plan).observe(seen, *_line_counts())
    num_files = deliver(plan, rows, run.shop_dir)
    by_source = {name: int(number or 0) for name, number in seen.get.items()}
    repeated = by_source.pop(REPEATED)
    written = {contract.name: run.tables.replace(contract, frame) for contract, frame in _truths(run, plan, repeated)}
    total = sum(by_source.values())
    lines = ", ".join(f"{number:,} {source}" for source, number in by_source.items() if number)
    return StageResult(
        RowCounts(total, total),
        {},
        {name: commit.version for name, commit in written.items()},
        f"{plan.world.num_members:,} members, {num_files} files: {lines}",
    )


def _line_counts() -> list[Column]:
    """Lines of each source, and how many of them a replayed file says again."""
    by_source = [F.sum((F.col("source") == source).cast("bigint")).alias(source) for source in SOURCES]
    return [*by_source, F.sum(F.col("repeated").cast("bigint")).alias(REPEATED)]


def _truths(run: Run, plan: WorldPlan, repeated: int) -> list[tuple[TableContract, DataFrame]]:
    spark = run.tables.spark
    return [
        (TRUTH_MEMBERS, by_member(spark, plan, member_truth, TRUTH_MEMBERS.schema)),
        (TRUTH_LEVELS, by_member(spark, plan, level_truth, TRUTH_LEVELS.schema)),
        (TRUTH_CAMPAIGNS, spark.createDataFrame(campaign_rows(plan), TRUTH_CAMPAIGNS.schema)),
        (TRUTH_DEFECTS, spark.createDataFrame(defect_rows(plan, repeated), TRUTH_DEFECTS.schema)),
    ]


def defect_rows(plan: WorldPlan, repeated: int) -> list[tuple[str, str, int, str, str]]:
    """The defects that are on, in the order of TRUTH_DEFECTS; ``repeated`` is the number of replayed lines."""
    without_rows = ("empty_day", "shuffled_file", "truncated_file")
    rows = []
    for name, number in counts_of(plan).items():
        num_rows = repeated if name == "replayed_file" else 0 if name in without_rows else number
        # A broken line is two.
        num_rows *= 2 if name == "quoted_newline" else 1
        defect = DEFECTS[name]
        rows.append((name, defect.source, num_rows, defect.outcome, defect.expected))
    return rows
