"""spark-submit entry point: one member's forecast, reasons and advice as a page. `--help` says what it takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("explain", sys.argv[1:]))
