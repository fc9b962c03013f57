"""Airflow: a shop's day, every morning, and its retraining, when somebody triggers it; each stage is a spark-submit.
The retraining is triggered with {"day": "2024-10-26"}, the last complete day.

Copy or link this file into the DAGs folder. Variables: ``memberlevel_home``, the folder of the checkout on the workers
(/opt/memberlevel); ``memberlevel_config``, the shop's YAML below it; ``memberlevel_out``, where its tables go. The
connection ``spark_default`` says where Spark is; the pseudonym key is the variable MEMBERLEVEL__PSEUDONYMS__KEY of the
workers. Needs apache-airflow-providers-apache-spark.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from airflow import DAG
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.timetables.interval import CronDataIntervalTimetable

ZONE = "Europe/Berlin"
HOME = "{{ var.value.get('memberlevel_home', '/opt/memberlevel') }}"
CONFIG = "{{ var.value.get('memberlevel_config', 'conf/complete_journey.yaml') }}"
OUT = "{{ var.value.get('memberlevel_out', '/opt/memberlevel/out') }}"
# The day that has just ended, in the shop's zone: the interval from 04:15 yesterday to 04:15 today begins on it.
YESTERDAY = f"{{{{ data_interval_start.in_timezone('{ZONE}').to_date_string() }}}}"
GIVEN_DAY = "{{ dag_run.conf['day'] }}"
INGEST = ("bronze", "silver", "member_days", "levels", "outcomes")
TRAINING = ("features", "labels", "examples", "train", "evaluate", "register")
DAILY = ("features", "score", "advise", "monitor", "report")
DATED = frozenset({"score", "advise", "monitor", "report"})


def stages(names: Sequence[str], dated: frozenset[str], day: str) -> None:
    """A task for each stage, one after the other; those in ``dated`` write the day alone."""
    before = None
    for name in names:
        task = SparkSubmitOperator(
            task_id=name,
            application=f"{HOME}/jobs/{name}.py",
            name=f"memberlevel {name} {day}",
            properties_file=f"{HOME}/conf/deploy/spark.properties",
            py_files=f"{HOME}/dist/memberlevel_spark.zip",
            application_args=[
                *("--config", f"{HOME}/{CONFIG}", "--set", f"output_dir={OUT}"),
                *("--set", f"timeline.data_through={day}", "--set", f"timeline.score=[{day}]"),
                *(("--as-of", day) if name in dated else ()),
            ],
        )
        if before is not None:
            before >> task
        before = task


# One run at a time: two would write the same tables. An exit code is for somebody to read, not to try again.
COMMON = {
    "start_date": datetime(2024, 1, 1, tzinfo=ZoneInfo(ZONE)),
    "catchup": False,
    "max_active_runs": 1,
    "default_args": {"retries": 0, "execution_timeout": timedelta(hours=4)},
    "tags": ["memberlevel"],
}

with DAG(
    dag_id="memberlevel_daily", schedule=CronDataIntervalTimetable("15 4 * * *", timezone=ZONE), **COMMON
) as daily:
    stages((*INGEST, *DAILY), DATED | {"features"}, YESTERDAY)

with DAG(dag_id="memberlevel_retrain", schedule=None, **COMMON) as retrain:
    stages((*INGEST, *TRAINING, *(name for name in DAILY if name != "features")), DATED, GIVEN_DAY)
