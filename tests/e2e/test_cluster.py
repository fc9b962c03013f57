"""`spark-submit` of the scoring job on executors of their own: `local-cluster`, with the library from a zip."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]
ROOT = Path(__file__).parents[2]


def library_zip(folder: Path) -> Path:
    path = folder / "memberlevel_spark.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((ROOT / "memberlevel_spark").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(ROOT))
    return path


def submit(job: str, archive: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    home = Path(pyspark.__file__).parent
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_SCALA_VERSION": "2.13",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    environment.pop("PYSPARK_GATEWAY_PORT", None)
    environment.pop("PYSPARK_GATEWAY_SECRET", None)
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }
    conf = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
    command = [str(home / "bin" / "spark-submit"), "--master", "local-cluster[2,1,1024]", *conf]
    command += ["--py-files", str(archive), str(ROOT / "jobs" / f"{job}.py"), *arguments]
    return subprocess.run(command, env=environment, cwd=archive.parent, capture_output=True, text=True, timeout=300)


def test_scoring_on_other_processes_gives_the_same_table(
    spark: SparkSession, shop: Path, small_shop: Path, tmp_path: Path
):
    path = str(shop / "tables" / "member_scores")
    before = sorted(spark.read.format("delta").load(path).toPandas().astype(str).apply(tuple, axis=1))
    done = submit("score", library_zip(tmp_path), ["--config", str(small_shop), "--set", f"output_dir={shop.parent}"])
    assert done.returncode == 0, done.stderr[-3000:]
    # spark-submit sends what Python writes to stderr to its own stdout.
    assert "champion m" in done.stdout, done.stdout[-3000:]
    after = spark.read.format("delta").load(path)
    assert sorted(after.toPandas().astype(str).apply(tuple, axis=1)) == before
