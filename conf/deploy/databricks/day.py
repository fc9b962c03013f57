# Databricks notebook source
# MAGIC %md
# MAGIC # The last complete day
# MAGIC Yesterday in the shop's zone, for the tasks after this one: `{{tasks.day.values.day}}`. Whoever runs a day again
# MAGIC gives it as the widget `day`.

# COMMAND ----------

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

dbutils.widgets.text("zone", "Europe/Berlin")
dbutils.widgets.text("day", "")
given = dbutils.widgets.get("day")
now = datetime.now(ZoneInfo(dbutils.widgets.get("zone")))
day = date.fromisoformat(given) if given else now.date() - timedelta(days=1)
dbutils.jobs.taskValues.set(key="day", value=day.isoformat())
