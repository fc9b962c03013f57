"""One rank of a run with several processes: what torchrun's process executes from start to end.

``python -m torch.distributed.run ... -m memberlevel_spark.training.rank <job.json>`` runs it by hand.
"""

import contextlib
import logging
import os
import sys
from pathlib import Path

from memberlevel_spark.training.failures import write_failure
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.loop import train
from memberlevel_spark.training.ranks import join_ranks, one_thread
from memberlevel_spark.training.stopping import noted_sigterm

# The launcher shows lines that begin so and keeps everything else that the processes print in the debug log.
LINE_MARK = "[rank "


def run_rank(job_json: str) -> None:
    """Train as one rank of a process group; torchrun's environment says which. Started in a process of its own."""
    job, rank = TrainingJob.from_json(job_json), int(os.environ["RANK"])
    logging.basicConfig(level=logging.INFO, format=f"{LINE_MARK}{rank}] %(message)s", stream=sys.stderr)
    try:
        with one_thread(), noted_sigterm() as stop, join_ranks(job, rank) as ranks:
            fit = train(job, ranks, stop)
            if rank == 0:
                # Imported here: the plots' library takes a second to load, which the other ranks need not wait for.
                from memberlevel_spark.training.artefacts import write_artefacts

                write_artefacts(Path(job.run_dir), job.model, fit)
    except SystemExit:
        raise  # stopped on purpose
    except BaseException as error:
        with contextlib.suppress(OSError):  # a full disk must not hide the error itself
            write_failure(Path(job.run_dir), rank, error)
        raise


if __name__ == "__main__":
    run_rank(Path(sys.argv[1]).read_text(encoding="utf-8"))
