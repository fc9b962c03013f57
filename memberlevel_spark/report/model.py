"""Everything the report shows, as plain values; whoever has the tables fills it, the report only draws it.

In: results of the stages of one run. Out: one frozen ``ReportData`` per report.
Shape legend: K levels (0 is the lowest).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memberlevel_spark.errors import DataQualityError, first_five

Row = Mapping[str, Any]

QUANTITIES = ("churn", "orders", "spend_cents")
MOVER_KEYS = ("member_id", "level_now", "p_move", "expected_level", "level_metric_now", "level_metric_carry_over")
ROW_KEYS: Mapping[str, tuple[str, ...]] = {
    "reliability": ("confidence", "observed", "count"),
    "movers_up": (*MOVER_KEYS, "to_next", "reasons", "extra"),
    "movers_down": (*MOVER_KEYS, "to_next", "reasons", "extra"),
    "tips": (
        *("goal", "target_level", "metric", "members", "likely", "tipped"),
        *("not_alone", "extra_low", "extra_median"),
    ),
    "nearest": ("member_id", "level_now", "target_level", "p_now", "extra", "needed"),
    "quality": ("stage", "rows_in", "rows_out", "quarantined", "duplicates", "filtered", "seconds"),
    "quarantine": ("source", "rule", "rows"),
    "changes": ("number", "before", "now"),
    "survival": ("level", "spells", "ended", "median_days", "days", "shares"),
    "alerts": ("metric", "subject", "level", "value", "threshold"),
    "monitor": ("metric", "slice", "value", "level"),
    "drift": ("kind", "name", "level", "psi", "ks", "js", "wasserstein"),
    "gains": ("event", "forecaster", "contacted", "captured"),
    "spend_tenths": ("members", "expected", "realised"),
    "slices": (
        *("dimension", "slice", "members", "accuracy", "persistence_accuracy", "log_loss"),
        *("upgrade_auc", "churn_auc", "churn_brier", "spend_mae"),
    ),
    "came_true": (
        *("as_of_date", "model_version", "members", "accuracy", "persistence_accuracy", "log_loss", "upgrade_auc"),
        *("upgrade_ap", "downgrade_auc", "churn_auc", "churn_brier", "churn_ece", "spend_mae", "spend_bias"),
    ),
    "came_true_tenths": ("dimension", "slice", "members", "metric", "value"),
    "groups": (
        *("attribute", "group", "members", "accuracy", "expected_level", "realised_level", "log_loss", "ece"),
        *("called_share", "found_share", "false_share"),
    ),
    "group_differences": (
        *("attribute", "forecaster", "accuracy", "log_loss", "demographic_parity", "equalised_odds"),
        *("worst_group", "worst_gap", "worst_gap_low", "worst_gap_high"),
    ),
    "calls": ("attribute", "rule", "called", "called_share", "right_share", "found_share", "found_gap"),
    "expected": ("quantity", "total", "low", "median", "high"),
    "spend_ranges": ("members", "expected_cents", "low_cents", "high_cents"),
    "training_curves": ("epoch", "train_log_loss", "validation_log_loss", "validation_accuracy"),
}


@dataclass(frozen=True, kw_only=True)
class MaturedMoves:
    """Moves of one as-of date whose labels are mature, of one model: members expected and realised, [K][K] each, by
    level then (row) and level held ``horizon_days`` later (column). ``num_fallen`` members fell; ``at_risk_cents`` is
    what they had spent in as many days before, in minor units."""

    as_of_date: dt.date
    model_version: str
    expected: Sequence[Sequence[float]]
    realised: Sequence[Sequence[float]]
    num_fallen: int
    at_risk_cents: int


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """One report's content; a number that is None is shown as "n/a", an empty list as a sentence.

    Money is in minor units (cents) of ``currency``, probabilities and shares lie in [0, 1], dates are business days.

    - title, shop: headings; shop is the name of the configuration.
    - as_of_date: last day whose events the forecast knows; it speaks about ``horizon_days`` later.
    - level_names: K names, two at least, lowest first.
    - versions: what made this report, e.g. model_version, config fingerprint, table and package versions.
    - test_as_of, num_members: the out-of-time test date and the number of members judged there.
    - metrics: forecaster -> metric -> value, forecasters in display order (``evaluation.metrics.level_metrics``);
      the keys ``model`` and ``persistence`` carry the headline.
    - confusion: [K][K] test members by realised (row) and predicted (column) level.
    - migration: [K][K] expected members by level now (row) and future level (column) at ``as_of_date``.
    - level_counts_now, level_counts_expected: [K] members at ``as_of_date`` and expected at the horizon.
    - reliability: points of ``evaluation.calibration``; without an ``event`` a point counts for all levels.
    - gains: curves of ``evaluation.record.gain_curves``, shares [P] each; captured is None where there was nothing.
    - spend_tenths: sums of each tenth of the test members from the lowest expectation up, in whole units of money.
    - slices: rows of ``evaluation.slices.slice_metrics``, spend in whole units of money.
    - came_true: one row per as-of date and model version that was judged (table ``outcomes``, all members), newest
      first; spend in whole units of money. came_true_tenths: the rows of ``outcomes`` that are tenths, and moves, of
      one of them; moves is None where nothing has matured.
    - groups, group_differences, calls: rows of ``evaluation.fairness`` and ``evaluation.call_thresholds``.
    - expected: what is expected of members at the horizon, one row per quantity of ``QUANTITIES``: the sum over all
      members, and the 10 %, 50 % and 90 % quantile of them; money in minor units.
    - churn_counts: members by their chance of no order, bars of equal width from 0 to 1.
    - spend_ranges: means per member in each tenth of the scored members from the lowest expected spend up.
    - spend_history: (date, minor units); level_history: (date, [K] members); both in date order.
    - movers_up, movers_down: members likeliest first. level_now is the level's number, expected_level the mean of the
      predicted level numbers; level_metric_now, level_metric_carry_over (what still counts at the horizon) and to_next
      (what is then missing to the next level, counted from the carry-over; None at the top) are in the unit of the
      level rules. reasons are topics with their effects on the chance, the largest first; extra is what would tip the
      member up, or keep them from falling; both None where they are not kept.
    - tips: members by goal (rise, keep), level and metric (``report.tips``); likely: the chance that counts as such.
    - nearest: the members whom the smallest extra amounts would tip to the next level.
    - benefits: [K] what members of each level get, empty without any.
    - quality: row accounting per stage; quarantine: rows per source and broken rule.
    - changes: headline numbers (``report.changes``) then and now, spend in minor units; compared_with: the as-of date
      and model version of then, None without any.
    - survival: one row per level with the steps of its Kaplan-Meier curve, days and shares that last longer [P] each,
      empty where nobody held it; median_days is None where no more than half was ever seen to end.
    - alerts: warnings and alerts, alerts first. monitor: one row per checked value that is no distance, drift: one per
      number with its distances (``report.watching``); level is ok, warn, alert or unknown.
    - level_metric_name, level_metric_is_money: what earns a level here; money is shown in major units.

    Raises:
        DataQualityError: fewer than two levels, a list of levels not K long, a matrix not K by K, or a row without a
            key of ``ROW_KEYS``.
    """

    title: str
    shop: str
    as_of_date: dt.date
    horizon_days: int
    currency: str
    level_names: Sequence[str]
    versions: Mapping[str, str]
    test_as_of: dt.date
    num_members: int
    metrics: Mapping[str, Mapping[str, float | None]]
    confusion: Sequence[Sequence[float]]
    migration: Sequence[Sequence[float]]
    level_counts_now: Sequence[float]
    level_counts_expected: Sequence[float]
    reliability: Sequence[Row] = field(default_factory=list)
    gains: Sequence[Row] = field(default_factory=list)
    spend_tenths: Sequence[Row] = field(default_factory=list)
    slices: Sequence[Row] = field(default_factory=list)
    came_true: Sequence[Row] = field(default_factory=list)
    came_true_tenths: Sequence[Row] = field(default_factory=list)
    moves: MaturedMoves | None = None
    groups: Sequence[Row] = field(default_factory=list)
    group_differences: Sequence[Row] = field(default_factory=list)
    calls: Sequence[Row] = field(default_factory=list)
    expected: Sequence[Row] = field(default_factory=list)
    churn_counts: Sequence[float] = field(default_factory=list)
    spend_ranges: Sequence[Row] = field(default_factory=list)
    spend_history: Sequence[tuple[dt.date, int]] = field(default_factory=list)
    level_history: Sequence[tuple[dt.date, Sequence[float]]] = field(default_factory=list)
    movers_up: Sequence[Row] = field(default_factory=list)
    movers_down: Sequence[Row] = field(default_factory=list)
    tips: Sequence[Row] = field(default_factory=list)
    nearest: Sequence[Row] = field(default_factory=list)
    likely: float = 0.5
    benefits: Sequence[Sequence[str]] = field(default_factory=list)
    quality: Sequence[Row] = field(default_factory=list)
    quarantine: Sequence[Row] = field(default_factory=list)
    changes: Sequence[Row] = field(default_factory=list)
    compared_with: tuple[dt.date, str] | None = None
    survival: Sequence[Row] = field(default_factory=list)
    alerts: Sequence[Row] = field(default_factory=list)
    monitor: Sequence[Row] = field(default_factory=list)
    drift: Sequence[Row] = field(default_factory=list)
    training_curves: Sequence[Row] = field(default_factory=list)
    caveats: Sequence[str] = field(default_factory=list)
    level_metric_name: str = "spend"
    level_metric_is_money: bool = True

    def __post_init__(self) -> None:
        self._check_levels()
        for name, keys in ROW_KEYS.items():
            missing = {key for row in getattr(self, name) for key in keys if key not in row}
            if missing:
                raise DataQualityError(f"Rows of {name} lack keys: {first_five(missing)}. Fill them, None is allowed.")

    def _check_levels(self) -> None:
        num_levels = len(self.level_names)
        if num_levels < 2:
            raise DataQualityError(f"A report needs two levels: {list(self.level_names)}. Check the level rules.")
        lengths = {
            "level_counts_now": {len(self.level_counts_now)},
            "level_counts_expected": {len(self.level_counts_expected)},
            "confusion": {len(self.confusion), *map(len, self.confusion)},
            "migration": {len(self.migration), *map(len, self.migration)},
            "level_history": {len(counts) for _, counts in self.level_history},
        }
        if self.survival:
            lengths["survival"] = {len(self.survival)}
        if self.moves is not None:
            matrices = (self.moves.expected, self.moves.realised)
            lengths["moves"] = {length for matrix in matrices for length in (len(matrix), *map(len, matrix))}
        wrong = [f"{name} {sorted(found)}" for name, found in lengths.items() if found - {num_levels}]
        if wrong:
            raise DataQualityError(
                f"The report has {num_levels} level names but other lengths in: {first_five(wrong)}. "
                "Take names and counts from the same level rules."
            )
