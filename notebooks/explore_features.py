# Databricks notebook source
# MAGIC %md
# MAGIC # 1. From the sources to the features
# MAGIC Makes the tables of one shop, from its files to the examples that a model learns from, and looks at them. Set
# MAGIC the widget `config` to the shop's YAML; everything the run needs is in it. Tables that are there already go on
# MAGIC from where they are.

# COMMAND ----------

from pathlib import Path

import numpy as np
from pyspark.sql import functions as F

from memberlevel_spark.config import config_fingerprint, load_config
from memberlevel_spark.evaluation import plots
from memberlevel_spark.evaluation.leakage_probes import feature_aucs
from memberlevel_spark.examples.stage import load_encoder
from memberlevel_spark.pipeline import run_one, stage_named
from memberlevel_spark.report.history import weekly_levels, weekly_spend
from memberlevel_spark.run import Run
from memberlevel_spark.scoring.apply import feature_matrix
from memberlevel_spark.session import get_session
from memberlevel_spark.tables import DeltaTables
from memberlevel_spark.timeline import every

dbutils.widgets.text("config", "conf/complete_journey.yaml")
dbutils.widgets.text("output_dir", "out")
config = load_config(
    Path(dbutils.widgets.get("config")),
    [f"output_dir={dbutils.widgets.get('output_dir')}"],
)
stamp = {"run_id": "notebook", "fingerprint": config_fingerprint(config), "job": "explore_features"}
tables = DeltaTables(get_session(config), str((config.shop_dir / "tables").absolute()), stamp)
run = Run(config, tables)
level_names = [level.name for level in config.levels.programme]

# COMMAND ----------

# MAGIC %md
# MAGIC ## Clean events and daily tiles
# MAGIC Bronze keeps every source row, silver the clean ones; what was rejected says why.

# COMMAND ----------

for name in ("bronze", "silver", "member_days"):
    run_one(stage_named(name), run)
display(tables.read("quarantine").groupBy("source", "rule").count().orderBy("source", "rule"))
display(tables.read("member_days").orderBy("member_id", "day").limit(10))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Spend and levels, week by week
# MAGIC The level rules are replayed for every member.

# COMMAND ----------

run_one(stage_named("levels"), run)
weeks = every(config.timeline.train.first, config.timeline.data_through, 7)
display(weekly_spend(tables.read("member_days"), weeks))
display(weekly_levels(tables.read("member_levels"), weeks).orderBy("week", "level"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Features, and what happened next
# MAGIC Features look back from each as-of date, inclusive; what each one means is in the catalogue. The heat map
# MAGIC counts members by level on the as-of date and on the label date, over all dates.

# COMMAND ----------

for name in ("features", "labels", "examples"):
    run_one(stage_named(name), run)
print((config.shop_dir / "runs" / "features" / "catalogue.md").read_text(encoding="utf-8")[:2000])
moves_KK = np.zeros((len(level_names), len(level_names)))
for row in tables.read("member_labels").groupBy("level_now", "target_level").count().collect():
    moves_KK[row["level_now"], row["target_level"]] = row["count"]
displayHTML(plots.migration_heat_map(level_names, moves_KK.tolist()))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Which features know most
# MAGIC How well each encoded feature alone orders the members of the validation date by whether they moved up; .5
# MAGIC knows nothing.

# COMMAND ----------

encoder = load_encoder(run, tables.version("examples"))
examples = tables.read("examples").where(F.col("split") == "validation")
rows = examples.select("features", "level_now", "target_level").toArrow()
moved_N1 = (rows["target_level"].to_numpy() > rows["level_now"].to_numpy())[:, None]
aucs_F = feature_aucs(feature_matrix(rows["features"].combine_chunks())[:, : len(encoder.names)], moved_N1)[:, 0]
known = [(name, float(auc)) for name, auc in zip(encoder.names, aucs_F, strict=True) if np.isfinite(auc)]
strongest = sorted(known, key=lambda pair: -abs(pair[1] - 0.5))[:20]
display(tables.spark.createDataFrame(strongest, "feature string, upgrade_auc double"))
