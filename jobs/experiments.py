"""spark-submit entry point: models compared over several test dates, beside the flow. `--help` says what it takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("experiments", sys.argv[1:]))
