# Databricks notebook source
# MAGIC %md
# MAGIC # 3. Score every member, and say why
# MAGIC The champion's forecast of every member, the reasons behind it, and what would tip a member to the next level.

# COMMAND ----------

from dataclasses import replace
from datetime import date
from pathlib import Path

from pyspark.sql import functions as F

from memberlevel_spark.config import config_fingerprint, load_config
from memberlevel_spark.evaluation import outcome_plots
from memberlevel_spark.pipeline import run_one, stage_named
from memberlevel_spark.report.outlook import outlook
from memberlevel_spark.run import Run
from memberlevel_spark.session import get_session
from memberlevel_spark.tables import DeltaTables

dbutils.widgets.text("config", "conf/complete_journey.yaml")
dbutils.widgets.text("output_dir", "out")
config = load_config(
    Path(dbutils.widgets.get("config")),
    [f"output_dir={dbutils.widgets.get('output_dir')}"],
)
stamp = {"run_id": "notebook", "fingerprint": config_fingerprint(config), "job": "score_and_explain"}
tables = DeltaTables(get_session(config), str((config.shop_dir / "tables").absolute()), stamp)
run = Run(config, tables)
level_names = [level.name for level in config.levels.programme]
latest: date = max(config.timeline.score)
run = replace(run, as_of_dates=(latest,))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Score
# MAGIC One row per member, as-of date and model version.

# COMMAND ----------

run_one(stage_named("score"), run)
scores = tables.read("member_scores").where(F.col("as_of_date") == F.lit(latest))
display(scores.orderBy(F.col("p_up").desc_nulls_last(), "member_id").limit(10))
displayHTML(outcome_plots.chance_histogram(outlook(scores)["churn_counts"]))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Reasons, and what would tip them
# MAGIC The smallest extra amount with which the next level becomes likely; why each chance is what it is stands in
# MAGIC `member_reasons`.

# COMMAND ----------

run_one(stage_named("advise"), run)
advice = tables.read("member_advice").where((F.col("as_of_date") == F.lit(latest)) & (F.col("goal") == "rise"))
display(advice.where("extra > 0").orderBy("extra", "member_id").limit(10))
display(tables.read("member_reasons").where(F.col("as_of_date") == F.lit(latest)).orderBy("member_id").limit(10))

# COMMAND ----------

# MAGIC %md
# MAGIC ## One member
# MAGIC All of it for the member who is likeliest to move up, or any other one in the widget `member`.

# COMMAND ----------

likeliest = scores.orderBy(F.col("p_up").desc_nulls_last(), "member_id").limit(1).collect()[0]["member_id"]
dbutils.widgets.text("member", likeliest)
print(run_one(stage_named("explain"), replace(run, member=dbutils.widgets.get("member"))).page)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Whom to call
# MAGIC The members likeliest to move up, by the thresholds that the evaluation fitted (`evaluation.call_by`).

# COMMAND ----------

print(run_one(stage_named("call_list"), run).note)
