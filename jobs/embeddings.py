"""spark-submit entry point: members' events as vectors, beside the flow. `--help` says what it takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("embeddings", sys.argv[1:]))
