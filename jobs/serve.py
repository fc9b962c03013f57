"""Entry point, no Spark session: the service that answers for single members. `--help` says what it takes."""

import sys

from memberlevel_spark.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("serve", sys.argv[1:]))
