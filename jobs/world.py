"""spark-submit entry point: the synthetic shop with known truth. `--help` says what it makes and takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("world", sys.argv[1:]))
