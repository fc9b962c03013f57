"""Files as a shop delivers them: ``raw/<source>/<month or day>``, the lines in the order of time.

Spark writes the text of all sources in one pass; the files are then given their names. The same world is the same
files, byte for byte, whatever the number of tasks; a file that is there already, with the same bytes, is left alone.
"""

import filecmp
import gzip
import shutil
from pathlib import Path

from pyspark.sql import DataFrame

from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.synthetic.files import HEADERS, ONE_FILE, SOURCES
from memberlevel_spark.synthetic.plan import WorldPlan

SCRATCH = "raw.new"
CHECKPOINTS = "checkpoints"
CUT_BYTES = 1_000_000
GROUP = ("source", "file", "part")


def deliver(plan: WorldPlan, lines: DataFrame, shop_dir: Path) -> int:
    """Write the lines as files; returns how many. What an earlier world of this shop had besides is gone then.

    Errors: ConfigError when the files would be others than those the job has read already.
    """
    scratch, raw = (shop_dir / SCRATCH).absolute(), (shop_dir / "raw").absolute()
    in_order = lines.repartition(*GROUP).sortWithinPartitions(*GROUP, "position", "line")
    in_order.select(*GROUP, "line").write.partitionBy(*GROUP).mode("overwrite").text(str(scratch))
    named = {_name(plan, path): path for path in scratch.glob("source=*/file=*/part=*/*.txt")}
    _write_odd_files(plan, named, scratch)
    there = [path for source in SOURCES for path in (raw / source).glob("*")]
    stale = [path for path in there if path.relative_to(raw).as_posix() not in named]
    # A file that did not change keeps its time: whoever reads only what is new has nothing to do.
    changed = [name for name, path in named.items() if not _same(path, raw / name)]
    _require_unread(shop_dir, [*changed, *(path.name for path in stale)])
    for path in stale:
        path.unlink()
    for name in changed:
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        named[name].replace(raw / name)
    shutil.rmtree(scratch)
    return len(named)


def _same(path: Path, old: Path) -> bool:
    return old.is_file() and filecmp.cmp(path, old, shallow=False)


def _require_unread(shop_dir: Path, changed: list[str]) -> None:
    """A stream that has read a file does not look at it again, so the tables would stay those of the old world."""
    if changed and (shop_dir / CHECKPOINTS).exists():
        raise ConfigError(
            f"the job has read this shop's files already, and this world has others: {first_five(changed)}."
            f" Remove {shop_dir}, or give another output_dir or name."
        )


def _name(plan: WorldPlan, path: Path) -> str:
    part, file, source = (folder.name.partition("=")[2] for folder in list(path.parents)[:3])
    number = f"-part{int(part):05d}" if plan.world.parts > 1 and file != ONE_FILE else ""
    return f"{source}/{file}{number}{'.csv' if source in HEADERS else '.jsonl'}"


def _write_odd_files(plan: WorldPlan, named: dict[str, Path], scratch: Path) -> None:
    """Files of 0 bytes, and one that is cut off; they join the others under their names."""
    last, clicks = plan.date_of(plan.num_days - 1), min(name for name in named if name.startswith("clicks/"))
    for number in range(plan.world.defects.empty_day):
        named[f"clicks/{last}-empty-{number}.jsonl"] = empty = scratch / f"empty-{number}"
        empty.touch()
    if plan.world.defects.truncated_file:
        named[f"clicks/{last}-cut.jsonl.gz"] = cut = scratch / "cut"
        whole = gzip.compress(named[clicks].read_bytes()[:CUT_BYTES], mtime=0)
        cut.write_bytes(whole[: len(whole) // 2])
