"""spark-submit entry point: the leakage check, beside the flow. `--help` says what it looks at and takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("leakage_check", sys.argv[1:]))
