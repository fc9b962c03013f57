# Databricks notebook source
# MAGIC %md
# MAGIC # 4. Watch the model and read the report
# MAGIC Whether features drift from what the model learned on, how levels are expected to move, and how matured
# MAGIC forecasts did.

# COMMAND ----------

from pathlib import Path

from pyspark.sql import functions as F

from memberlevel_spark.config import config_fingerprint, load_config
from memberlevel_spark.pipeline import run_one, stage_named
from memberlevel_spark.report.figures import report_figures
from memberlevel_spark.report.stage import READ, collect_report
from memberlevel_spark.run import Run
from memberlevel_spark.session import get_session
from memberlevel_spark.tables import DeltaTables

dbutils.widgets.text("config", "conf/complete_journey.yaml")
dbutils.widgets.text("output_dir", "out")
config = load_config(
    Path(dbutils.widgets.get("config")),
    [f"output_dir={dbutils.widgets.get('output_dir')}"],
)
stamp = {"run_id": "notebook", "fingerprint": config_fingerprint(config), "job": "monitor"}
tables = DeltaTables(get_session(config), str((config.shop_dir / "tables").absolute()), stamp)
run = Run(config, tables)
level_names = [level.name for level in config.levels.programme]

# COMMAND ----------

# MAGIC %md
# MAGIC ## Alerts, and what was watched
# MAGIC Alerts first, then the largest values.

# COMMAND ----------

print(run_one(stage_named("monitor"), run).note)
watched = tables.read("monitor_metrics").where(F.col("as_of_date") == F.lit(max(config.timeline.score)))
severity = F.array_position(F.array(F.lit("ok"), F.lit("warn"), F.lit("alert")), F.col("level"))
in_order = watched.orderBy(severity.desc(), F.col("value").desc_nulls_last(), "metric", "slice")
display(in_order.select("metric", "slice", "value", "warn_above", "alert_above", "level").limit(20))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Expected migration, and how we got here

# COMMAND ----------

figures = report_figures(collect_report(run, {name: tables.version(name) for name in READ}))
for name in ("distribution", "migration", "level_history", "spend_history"):
    displayHTML(figures[name].svg)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The report
# MAGIC One file for everybody, which opens offline.

# COMMAND ----------

print(run_one(stage_named("report"), run).note)
