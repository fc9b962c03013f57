"""spark-submit entry point: settings tried for the network, beside the flow. `--help` says what it takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("tune", sys.argv[1:]))
