"""Entry point, no Spark session: one member's forecast, now. `--help` says what it takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("score_one", sys.argv[1:]))
