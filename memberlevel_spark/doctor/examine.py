"""The job doctor: every check of machine and shop, each in one line.

In: the configuration. Out: findings in the order machine, tables, registry, run folders. Nothing is mended, no session
is made, and no secret is told.
"""

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

from memberlevel_spark.config import Config
from memberlevel_spark.doctor.finding import Finding
from memberlevel_spark.doctor.machine import machine_findings


def examine(config: Config, *, deep: bool = False) -> list[Finding]:
    """All findings; those of the shop need pyspark to be installed, though not to run."""
    found = machine_findings(config)
    if find_spec("pyspark") is None:
        return found
    from memberlevel_spark.doctor.artefacts import registry_findings, run_findings
    from memberlevel_spark.doctor.table_checks import table_findings

    return [
        *found,
        *table_findings(config.shop_dir, deep=deep),
        *registry_findings(config),
        *run_findings(config.shop_dir),
    ]


def page_of(findings: Sequence[Finding]) -> str:
    """A line per finding, and how many there are of each state."""
    counts = Counter(finding.state for finding in findings)
    total = f"{counts['ok']} ok, {counts['warning']} warning(s), {counts['broken']} broken"
    return "\n".join([*(finding.line for finding in findings), total])
