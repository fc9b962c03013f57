"""README's shop that has a clickstream and nothing else: the whole pipeline by its YAML alone."""

import csv
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from memberlevel_spark.cli import run_job

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
FIRST, NUM_DAYS, NUM_USERS = datetime(2024, 1, 1), 331, 120


def write_clicks(path: Path, seed: int = 11) -> int:
    """Users with a rate of their own, who look, put into the basket and buy; returns the number of rows."""
    rng, rows = np.random.default_rng(seed), []
    for user in range(NUM_USERS):
        rate, stops = rng.gamma(2.0, 0.03), rng.integers(100, 900)
        for day in np.flatnonzero(rng.random(min(NUM_DAYS, stops)) < rate + 0.02):
            at = FIRST + timedelta(days=int(day), minutes=int(rng.integers(600, 1200)))
            views = int(rng.integers(1, 6))
            rows += [(f"u{user}", "page_view", at + timedelta(minutes=n)) for n in range(views)]
            if rng.random() < 0.5:
                rows += [(f"u{user}", "add_to_cart", at + timedelta(minutes=views))]
                rows += [(f"u{user}", "purchase", at + timedelta(minutes=views + 5))] * (rng.random() < 0.8)
    rows.sort(key=lambda row: row[2])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user_id", "event", "timestamp"), *rows])
    return len(rows)


def test_readmes_clickstream_runs_through_the_whole_pipeline(spark: SparkSession, tmp_path: Path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (yaml_text,) = re.findall(r"```yaml\n(# conf/clickstream\.yaml.*?)```", readme, re.DOTALL)
    (tmp_path / "base.yaml").write_text((ROOT / "conf" / "base.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "clickstream.yaml").write_text(yaml_text, encoding="utf-8")
    number = write_clicks(tmp_path / "clicks.csv")
    options = [f"output_dir={tmp_path / 'out'}", f"sources.clicks.path={tmp_path / 'clicks.csv'}"]
    options += ["training.how=inline", "training.max_epochs=6", "training.batch_rows=256", "model.hidden=[16]"]
    arguments = [word for option in options for word in ("--set", option)]
    assert run_job("pipeline", ["--config", str(tmp_path / "clickstream.yaml"), *arguments]) in (0, 4)

    out = tmp_path / "out" / "clickstream"
    events = spark.read.format("delta").load(str(out / "tables" / "events"))
    assert events.count() == number and events.where("net_cents <> 0").count() == 0
    days = spark.read.format("delta").load(str(out / "tables" / "member_days"))
    bought = events.where("event_type = 'order'").count()
    totals = days.agg(F.sum("num_orders"), F.sum("num_sessions")).first()
    assert totals is not None and totals[0] == bought > 300 and totals[1] >= bought
    levels = spark.read.format("delta").load(str(out / "tables" / "member_levels"))
    assert {row.level for row in levels.select("level").distinct().collect()} == {0, 1, 2}
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["model"]["accuracy"] > 0.5
    if (out / "report.html").exists():
        assert "num_orders" in (out / "report.html").read_text(encoding="utf-8")
