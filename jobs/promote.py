"""spark-submit entry point: another champion by hand, such as the one before. `--help` says what it takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("promote", sys.argv[1:]))
