"""The forecast of BG/NBD and Gamma-Gamma for the members of one as-of date.

In: ``member_days`` up to the as-of date. Out: one row per member with an order, and a ``Forecast`` from them.

Shape legend: N members that are asked for, H histories.
"""

from datetime import date

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.buy_till_you_die import BgNbd, GammaGamma
from memberlevel_spark.evaluation.forecasts import Forecast
from memberlevel_spark.evaluation.inputs import FloatArray

NUMBERS_OF_HISTORY = ("x", "t_x", "t", "num_orders", "worth_cents")


def build_order_histories(member_days: DataFrame, as_of: date) -> DataFrame:
    """Days with orders as orders: ``x`` after the first, the last ``t_x`` days after it, ``t`` days since it.

    ``num_orders`` are the single orders of all these days; ``worth_cents`` is the mean net spend of the later ones,
    null where there is none.
    """
    bought = member_days.where((F.col("day") <= F.lit(as_of)) & (F.col("num_orders") > 0))
    first = F.min("day")
    histories = bought.groupBy("member_id").agg(
        (F.count("day") - 1).alias("x"),
        F.datediff(F.max("day"), first).alias("t_x"),
        F.datediff(F.lit(as_of), first).alias("t"),
        F.sum("num_orders").alias("num_orders"),
        (F.sum("spend_cents") - F.min_by("spend_cents", "day")).alias("later_cents"),
    )
    worth = F.when(F.col("x") > 0, F.col("later_cents") / F.col("x")).alias("worth_cents")
    return histories.select("member_id", "x", "t_x", "t", "num_orders", worth)


def history_forecast(histories: pa.Table, member_N: np.ndarray, *, horizon_days: int) -> Forecast:
    """Orders, spend (minor units) and P(churn) of the members asked for; who never ordered never will.

    Errors: DataQualityError when no member has a second order, or none with one spent anything.
    """
    members = histories.column("member_id").to_numpy().astype(str)
    x_H, t_x_H, t_H, orders_H, worth_H = (
        histories.column(name).cast(pa.float64()).to_numpy() for name in NUMBERS_OF_HISTORY
    )
    different, weight_U = np.unique(np.stack([x_H, t_x_H, t_H], axis=1), axis=0, return_counts=True)
    x_U, t_x_U, t_U = different.T
    model = BgNbd.fit(x_U, t_x_U, t_U, weight_U.astype(np.float64))
    worth_H = np.nan_to_num(worth_H)
    paid_H = (x_H > 0) & (worth_H > 0)
    worth_model = GammaGamma.fit(x_H[paid_H], worth_H[paid_H], np.ones(int(paid_H.sum())))
    days_H = model.expected_orders(x_H, t_x_H, t_H, ahead=horizon_days)
    # The model knows days with orders; a day may have several.
    per_day = float(orders_H.sum() / (x_H + 1).sum())
    spend_H = days_H * worth_model.expected_worth(x_H * paid_H, worth_H)
    found = {
        "p_churn_N": (model.p_no_order(x_H, t_x_H, t_H, ahead=horizon_days), 1.0),
        "orders_N": (days_H * per_day, 0.0),
        "spend_N": (np.maximum(spend_H, 0.0), 0.0),
    }
    order_H = np.argsort(members)
    place_N = np.searchsorted(members, member_N, sorter=order_H).clip(max=len(members) - 1)
    has_history_N = members[order_H][place_N] == member_N

    def of_members(values_H: FloatArray, otherwise: float) -> FloatArray:
        return np.where(has_history_N, values_H[order_H][place_N], otherwise)

    return Forecast(**{name: of_members(*given) for name, given in found.items()})
