"""The forecasters side by side, one row per metric, with the best of each row marked.

In: forecaster -> metric -> value. Out: rows ready to print, for the HTML table and for the terminal alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from memberlevel_spark.report.formats import NO_BREAK, decimal, is_missing, percent

Metrics = Mapping[str, Mapping[str, float | None]]

FORECASTER_WORDS = {
    "model": "Model",
    "champion": "Present champion",
    "boosted_tree": "Boosted tree",
    "spark_trees": "Boosted trees on Spark",
    "logistic": "Logistic regression",
    "run_rate": "Goes on as before",
    "bg_nbd": "BG/NBD",
    "persistence": "Stays as is",
    "majority": "Overall shares",
}


@dataclass(frozen=True)
class MetricWords:
    """How one metric is called, explained and read.

    ``better`` is "higher" or "lower", "" where neither is; ``aim`` is the value it ought to have, where there is one.
    A metric ``in_depth`` says more of what another one says already: the terminal leaves it out.
    """

    label: str
    meaning: str
    better: str
    is_share: bool = False
    aim: str = ""
    in_depth: bool = False

    @property
    def reading(self) -> str:
        """How its values are read: "higher is better", "aim 80 %", or nothing."""
        return f"{self.better} is better" if self.better else f"aim {self.aim}" if self.aim else ""


# What a reader wants first; the page folds away the others.
FIRST = (
    *("accuracy", "log_loss", "ece", "upgrade_auc", "upgrade_lift_10", "downgrade_auc", "downgrade_lift_10"),
    *("churn_auc", "churn_lift_10", "orders_mae", "spend_mae", "spend_top_10", "spend_coverage_80", "category_hit_1"),
)

# Of the cuts at which lists are judged, the one in the first table.
MAIN_PERCENTAGE = 10


def _lift_words(event: str, label: str, who: str) -> dict[str, MetricWords]:
    return {
        f"{event}_lift_{percentage}": MetricWords(
            f"{label} lift, top {percentage}{NO_BREAK}%",
            f"{who} among the likeliest, as a multiple of their share in all",
            "higher",
            in_depth=percentage != MAIN_PERCENTAGE,
        )
        for percentage in (1, 5, 10)
    }


METRIC_WORDS = {
    "accuracy": MetricWords("Right level", "share of members whose level was predicted", "higher", is_share=True),
    "macro_precision": MetricWords("Macro precision", "of those predicted on a level, who held it", "higher"),
    "macro_recall": MetricWords("Macro recall", "of those who held a level, who was predicted", "higher"),
    "macro_f1": MetricWords("Macro F1", "balance of the two above, levels weigh equally", "higher"),
    "qwk": MetricWords("Quadratic kappa", "agreement, far misses cost more", "higher"),
    "log_loss": MetricWords("Log-loss", "surprise at what happened", "lower"),
    "upgrade_auc": MetricWords("Upgrade AUC", "movers up ranked before the others", "higher"),
    "upgrade_ap": MetricWords("Upgrade precision", "average precision of the list of movers up", "higher"),
    **_lift_words("upgrade", "Upgrade", "movers up"),
    "downgrade_auc": MetricWords("Downgrade AUC", "movers down ranked before the others", "higher"),
    "downgrade_ap": MetricWords("Downgrade precision", "average precision of the list of movers down", "higher"),
    **_lift_words("downgrade", "Downgrade", "movers down"),
    "ece": MetricWords("Calibration error", "gap between probability and frequency", "lower"),
    "churn_auc": MetricWords("Churn AUC", "members without an order ranked before the others", "higher"),
    "churn_ap": MetricWords("Churn precision", "average precision of the list of those without an order", "higher"),
    "churn_brier": MetricWords("Churn error", "squared gap between probability and what happened", "lower"),
    "churn_ece": MetricWords("Churn calibration error", "gap between probability and frequency", "lower"),
    **_lift_words("churn", "Churn", "members without an order"),
    "orders_mae": MetricWords("Orders off by", "mean error of the number of orders", "lower"),
    "orders_deviance": MetricWords("Orders deviance", "Poisson deviance of the number of orders", "lower"),
    "spend_mae": MetricWords("Spend off by", "mean error of the median, in units of the currency", "lower"),
    "spend_spearman": MetricWords("Spend rank correlation", "order of members by spend", "higher"),
    "spend_gini": MetricWords("Spend Gini", "order of members by spend, big spenders weigh more", "higher"),
    "spend_decile_error": MetricWords("Spend by tenths", "gap of sums in tenths of members, share of all", "lower"),
    **{
        f"spend_top_{percentage}": MetricWords(
            f"Spend of the top {percentage}{NO_BREAK}%",
            "share of all spend that the members with the highest expectation brought",
            "higher",
            is_share=True,
            in_depth=percentage != MAIN_PERCENTAGE,
        )
        for percentage in (1, 5, 10, 20)
    },
    "category_hit_1": MetricWords(
        "Next category named",
        "share of buyers whose first order was of the category that is named first",
        "higher",
        is_share=True,
    ),
    "category_hit_3": MetricWords(
        "Next category among three",
        "share of buyers whose first order was of one of the three that are named first",
        "higher",
        is_share=True,
    ),
    "category_log_loss": MetricWords(
        "Next category log-loss", "how surprising the category of buyers' first order was", "lower"
    ),
    "spend_coverage_80": MetricWords(
        "Spend within bounds",
        "share of members whose spend lay between the 10 % and the 90 % forecast",
        "",
        is_share=True,
        aim=f"80{NO_BREAK}%",
    ),
}


@dataclass(frozen=True)
class Cell:
    """One forecaster's value of a metric as text, and whether it is the best of its row."""

    text: str
    best: bool


@dataclass(frozen=True)
class ScoreRow:
    """One metric with its words (``better`` is "" for a metric without a known direction) and a cell per forecaster."""

    name: str
    words: MetricWords
    cells: tuple[Cell, ...]

    @property
    def is_first(self) -> bool:
        """Whether the metric stands in the first table."""
        return self.name in FIRST


def score_rows(metrics: Metrics) -> list[ScoreRow]:
    """Arrange the metrics as rows, in the order of the first forecaster that has them; cells follow ``metrics``.

    Values that look the same at three decimals are equally good. A metric nobody explained is shown without direction
    and without a best value; a forecaster that lacks a metric gets "n/a".
    """
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    return [_score_row(name, [values.get(name) for values in metrics.values()]) for name in names]


def forecaster_label(key: str) -> str:
    """Name a forecaster for readers; an unknown key is shown with spaces."""
    return FORECASTER_WORDS.get(key, key.replace("_", " ").capitalize())


def _score_row(name: str, values: list[float | None]) -> ScoreRow:
    words = METRIC_WORDS.get(name, MetricWords(name.replace("_", " "), "", ""))
    known = [round(value, 3) for value in values if value is not None and not is_missing(value)]
    best = None if not known or not words.better else (max(known) if words.better == "higher" else min(known))
    write = percent if words.is_share else decimal
    cells = (Cell(write(value), best is not None and value is not None and round(value, 3) == best) for value in values)
    return ScoreRow(name, words, tuple(cells))
