"""spark-submit entry point: the stage outcomes. `--help` says what it reads, makes and takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("outcomes", sys.argv[1:]))
