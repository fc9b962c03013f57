"""spark-submit entry point: the members to call, beside the flow. `--help` says what it takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("call_list", sys.argv[1:]))
