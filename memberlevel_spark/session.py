"""The one place that makes a Spark session, or takes the active one.

On Databricks, in notebooks and in tests a session exists already: it is taken as it is, and refused when its time zone
or its Delta support contradicts what the tables need.
"""

import os
import sys
from importlib.resources import files

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from memberlevel_spark.config import Config
from memberlevel_spark.errors import ConfigError

DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# A pandas path shifts instants in the hour a zone with daylight saving repeats; UTC has no such hour.
REQUIRED_ZONE = "UTC"
# Spark turns a wide query into one method beyond the 8000 bytes up to which HotSpot compiles, and it runs interpreted
# then. The parallel collector suits work where throughput counts and no pause hurts.
JVM_FLAGS = "-XX:-DontCompileHugeMethods -XX:+UseParallelGC"


def get_session(config: Config) -> SparkSession:
    """The active session if there is one, else a new one from ``config.spark``; always UTC, always with Delta.

    Errors: ConfigError when the session's zone is not UTC or it cannot read Delta tables.
    """
    session = SparkSession.getActiveSession() or _new_session(config)
    zone = session.conf.get("spark.sql.session.timeZone")
    if zone != REQUIRED_ZONE:
        raise ConfigError(f"the session's time zone is not UTC: {zone}. Set spark.sql.session.timeZone=UTC.")
    extensions = session.conf.get("spark.sql.extensions", None) or ""
    if DELTA_SETTINGS["spark.sql.extensions"] not in extensions and not _databricks():
        raise ConfigError(
            "the session has no Delta extension: spark.sql.extensions is not io.delta.sql.DeltaSparkSessionExtension."
            " Start it with --conf spark.sql.extensions and spark.sql.catalog.spark_catalog as in README, Cluster use."
        )
    return session


def has_local_files(session: SparkSession) -> bool:
    """Whether a path without a scheme is a file of this machine; on a cluster it may be of a file system of its own."""
    default = session.sparkContext._jsc.hadoopConfiguration().get("fs.defaultFS", "file:///")
    return str(default).startswith("file:")


def _databricks() -> bool:
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


def _new_session(config: Config) -> SparkSession:
    # Without it the workers start whatever `python3` is on the path, which lacks our packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(f"memberlevel {config.name}")
    settings = {**config.spark.conf, **DELTA_SETTINGS, "spark.sql.session.timeZone": REQUIRED_ZONE}
    if "PYSPARK_GATEWAY_PORT" not in os.environ and "SPARK_REMOTE" not in os.environ:
        # Nobody submitted us: this process starts the driver's JVM itself.
        builder = builder.master(config.spark.master)
        settings |= _own_driver_settings(config)
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except (PySparkException, OSError, RuntimeError) as problem:
        first = str(problem).strip().splitlines()[0]
        raise ConfigError(f"Spark did not start: {first}. Check Java 17, the master and the memory.") from None


def _own_driver_settings(config: Config) -> dict[str, str]:
    """Loopback only, Spark's log in a file, its progress bar only where somebody can see it."""
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    log_file = (config.shop_dir / "runs" / "spark.log").absolute()
    log_file.parent.mkdir(parents=True, exist_ok=True)
    log_config = files("memberlevel_spark") / "log4j2.properties"
    log_options = f'"-Dlog4j2.configurationFile={log_config}" "-Dmemberlevel.log={log_file}"'
    # The user's own come last: of two flags that contradict each other the later counts.
    own_options = config.spark.conf.get("spark.driver.extraJavaOptions", "")
    return {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"{log_options} {JVM_FLAGS} {own_options}".rstrip(),
        "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower(),
        "spark.sql.warehouse.dir": str(log_file.with_name("warehouse")),
    }
