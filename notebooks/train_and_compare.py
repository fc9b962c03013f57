# Databricks notebook source
# MAGIC %md
# MAGIC # 2. Train a model and compare it
# MAGIC Trains the configured model, and one that differs by the settings in the widget `variant`, on the examples of
# MAGIC the first notebook. Both are judged on an as-of date after all training labels, beside persistence, run-rate
# MAGIC and boosted trees.

# COMMAND ----------

import json
from dataclasses import replace
from pathlib import Path

from memberlevel_spark.config import config_fingerprint, load_config
from memberlevel_spark.evaluation import plots
from memberlevel_spark.evaluation.stage import load_evaluation
from memberlevel_spark.pipeline import run_one, stage_named
from memberlevel_spark.run import Run
from memberlevel_spark.session import get_session
from memberlevel_spark.tables import DeltaTables
from memberlevel_spark.training.stage import run_dir

dbutils.widgets.text("config", "conf/complete_journey.yaml")
dbutils.widgets.text("output_dir", "out")
config = load_config(
    Path(dbutils.widgets.get("config")),
    [f"output_dir={dbutils.widgets.get('output_dir')}"],
)
stamp = {"run_id": "notebook", "fingerprint": config_fingerprint(config), "job": "train_and_compare"}
tables = DeltaTables(get_session(config), str((config.shop_dir / "tables").absolute()), stamp)
run = Run(config, tables)
level_names = [level.name for level in config.levels.programme]
dbutils.widgets.text("variant", "model.level_head=softmax")
varied = load_config(
    Path(dbutils.widgets.get("config")),
    [f"output_dir={dbutils.widgets.get('output_dir')}", *dbutils.widgets.get("variant").split()],
)
runs = {"configured": run, "variant": replace(run, config=varied)}

# COMMAND ----------

# MAGIC %md
# MAGIC ## Train and judge both

# COMMAND ----------

for each in runs.values():
    for name in ("train", "evaluate"):
        run_one(stage_named(name), each)
judged = {name: load_evaluation(each)["test"]["model"] for name, each in runs.items()}
rivals = {name: values for name, values in load_evaluation(run)["test"].items() if name != "model"}
metrics = ("accuracy", "macro_f1", "log_loss", "upgrade_auc", "ece")
told = [(name, *(values.get(metric) for metric in metrics)) for name, values in {**judged, **rivals}.items()]
display(tables.spark.createDataFrame(told, ", ".join(["forecaster string", *(f"{name} double" for name in metrics)])))

# COMMAND ----------

# MAGIC %md
# MAGIC ## How the configured model learned, and whether it means what it says

# COMMAND ----------

evaluation = load_evaluation(run)
displayHTML(plots.training_curves(json.loads((run_dir(run) / "curves.json").read_text(encoding="utf-8"))))
displayHTML(plots.calibration_curve(evaluation["reliability"]))
displayHTML(plots.confusion_heat_map(level_names, evaluation["confusion"]))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Where it is good, and for whom
# MAGIC Parts of the members by level, tenure, orders and profile; and the groups of the protected attributes, where
# MAGIC some are named (`evaluation.protected`).

# COMMAND ----------

columns = "dimension string, slice string, members long, accuracy double, persistence_accuracy double, log_loss double"
names = [column.split()[0] for column in columns.split(", ")]
parts = [tuple(row[name] for name in names) for row in evaluation["slices"]]
display(tables.spark.createDataFrame(parts, columns))
columns = "attribute string, group string, members long, accuracy double, expected_level double, realised_level double"
names = [column.split()[0] for column in columns.split(", ")]
groups = [tuple(row[name] for name in names) for row in evaluation["fairness"]["groups"]]
display(tables.spark.createDataFrame(groups, columns))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Register
# MAGIC Only a model that passes the gate becomes champion; the gate says why.

# COMMAND ----------

print(run_one(stage_named("register"), run).note)
