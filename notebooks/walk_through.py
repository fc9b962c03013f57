# Databricks notebook source
# MAGIC %md
# MAGIC # Member levels, step by step
# MAGIC Runs every stage of the pipeline for one shop and shows the table each stage makes.
# MAGIC Set the widget `config` to the shop's YAML; everything the run needs is in it.

# COMMAND ----------

from datetime import date
from pathlib import Path

from pyspark.sql import functions as F

from memberlevel_spark.config import config_fingerprint, load_config
from memberlevel_spark.pipeline import run_one, stage_named
from memberlevel_spark.run import Run
from memberlevel_spark.session import get_session
from memberlevel_spark.tables import DeltaTables

dbutils.widgets.text("config", "conf/complete_journey.yaml")
dbutils.widgets.text("output_dir", "out")
config = load_config(
    Path(dbutils.widgets.get("config")),
    [f"output_dir={dbutils.widgets.get('output_dir')}"],
)
stamp = {"run_id": "notebook", "fingerprint": config_fingerprint(config), "job": "walk_through"}
tables = DeltaTables(get_session(config), str((config.shop_dir / "tables").absolute()), stamp)
run = Run(config, tables)

# COMMAND ----------

# MAGIC %md
# MAGIC ## From source rows to daily tiles
# MAGIC Bronze keeps every source row, silver the clean ones; what was rejected says why.

# COMMAND ----------

for name in ("bronze", "silver", "member_days"):
    run_one(stage_named(name), run)
display(tables.read("quarantine").groupBy("source", "rule").count())
display(tables.read("member_days").orderBy("member_id", "day").limit(10))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Levels and features
# MAGIC The level rules are replayed for every member; features look back from each as-of date, inclusive.

# COMMAND ----------

for name in ("levels", "features", "labels", "examples"):
    run_one(stage_named(name), run)
display(tables.read("member_levels").orderBy("member_id", "valid_from").limit(10))
display(tables.read("member_labels").groupBy("level_now", "target_level").count())

# COMMAND ----------

# MAGIC %md
# MAGIC ## Train, judge, register
# MAGIC The model is judged on an as-of date after all training labels, next to persistence and a boosted tree.

# COMMAND ----------

results = {name: run_one(stage_named(name), run) for name in ("train", "evaluate", "register")}
print("\n".join(f"{name}: {result.note}" for name, result in results.items()))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Score every member
# MAGIC One row per member, as-of date and model version.

# COMMAND ----------

for name in ("score", "advise", "monitor", "outcomes", "report"):
    run_one(stage_named(name), run)
latest: date = max(config.timeline.score)
scores = tables.read("member_scores").where(F.col("as_of_date") == F.lit(latest))
display(scores.orderBy(F.col("p_up").desc_nulls_last()).limit(10))

# COMMAND ----------

# MAGIC %md
# MAGIC ## What would tip them
# MAGIC The smallest extra amount with which the next level becomes likely; why each chance is what it is stands in
# MAGIC `member_reasons`.

# COMMAND ----------

advice = tables.read("member_advice").where((F.col("as_of_date") == F.lit(latest)) & (F.col("goal") == "rise"))
display(advice.where("extra > 0").orderBy("extra", "member_id").limit(10))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Did it come true?
# MAGIC Of dates whose label days are over: how good each model was, and who moved where.

# COMMAND ----------

outcomes = tables.read("outcomes").where("dimension = 'all'")
display(outcomes.orderBy("as_of_date", "model_version", "metric"))
display(tables.read("migrations").orderBy("as_of_date", "model_version", "level_from", "level_to"))
