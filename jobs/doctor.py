"""spark-submit entry point: what keeps a shop from running. `--help` says what is looked at."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("doctor", sys.argv[1:]))
