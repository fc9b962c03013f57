"""The learning curve over members: what more members would give, as far as fewer members tell.

In: ``backtest_examples`` of the last test date and of its training dates. Out: ``learning_curve_examples``, one point
per share, forecaster and seed, and ``learning_curve.png``.

Samples are nested, and every share forecasts all members of the test date. The encoder is that of all experiments: it
has seen all members, so the curve is of the networks and trees, not of the scaling.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from memberlevel_spark.evaluation.backtest import Origin
from memberlevel_spark.evaluation.comparison import CurvePoint, Result
from memberlevel_spark.evaluation.experiment_shop import BACKTEST_EXAMPLES, MODEL, Shop, judged, trial_job
from memberlevel_spark.evaluation.forecasts import Forecast
from memberlevel_spark.evaluation.member_shares import build_share_examples, split_of
from memberlevel_spark.evaluation.outcome_plots import learning_curve_png
from memberlevel_spark.evaluation.rivals import rows_of, tree_forecast
from memberlevel_spark.evaluation.run_rate import RunRate
from memberlevel_spark.evaluation.trials import Trial, run_trials
from memberlevel_spark.examples.build import examples_contract
from memberlevel_spark.run import Run
from memberlevel_spark.schemas import EXAMPLES

CURVE_EXAMPLES = replace(EXAMPLES, name="learning_curve_examples")
CURVE_PNG = "learning_curve.png"


@dataclass(frozen=True)
class Sample:
    """The training rows of one share of the members, in memory and as files."""

    rows: pa.Table
    files: tuple[str, ...]

    @property
    def num_members(self) -> int:
        """How many members it holds."""
        return int(pc.count_distinct(self.rows.column("member_id")).as_py())


def learning_curve(run: Run, shop: Shop, origin: Origin) -> list[CurvePoint]:
    """Train on every share with every seed, judge on all members of the origin's test date, and draw.

    Out: points by share, forecaster (``model``, ``boosted_tree``) and seed; none when no share is configured.
    """
    shares = sorted(set(run.config.experiments.learning_curve_shares))
    if not shares:
        return []
    samples = _samples(run, shop, origin, shares)
    results = _tree_results(run, shop, origin, samples) + _network_results(run, shop, origin, samples)
    points = [CurvePoint(share, samples[share].num_members, len(samples[share].rows), each) for share, each in results]
    points.sort(key=lambda point: (point.share, point.result.name != MODEL, point.result.seed))
    (run.shop_dir / CURVE_PNG).write_bytes(learning_curve_png(points))
    return points


def _samples(run: Run, shop: Shop, origin: Origin, shares: list[float]) -> Mapping[float, Sample]:
    examples = run.tables.read(BACKTEST_EXAMPLES.name, shop.version)
    trained = examples.where(F.col("as_of_date").isin(list(origin.train)))
    sampled = build_share_examples(trained, shares, files_per_split=run.config.training.lanes)
    version = run.tables.replace(examples_contract(shop.encoder, CURVE_EXAMPLES), sampled).version
    rows = run.tables.read(CURVE_EXAMPLES.name, version).orderBy("as_of_date", "row_key").toArrow()
    samples = {}
    for place, share in enumerate(shares, start=1):
        splits = [split_of(each) for each in shares[:place]]
        files = [run.tables.live_files(CURVE_EXAMPLES.name, version, f"split={split}") for split in splits]
        of_share = rows.filter(pc.is_in(rows.column("split"), pa.array(splits)))
        samples[share] = Sample(of_share, tuple(path for several in files for path in several))
    return samples


def _tree_results(run: Run, shop: Shop, origin: Origin, samples: Mapping[float, Sample]) -> list[tuple[float, Result]]:
    run_rate, test, results = RunRate.of(run.config, shop.encoder), rows_of(shop.rows[origin.test]), []
    for share, sample in samples.items():
        train = rows_of(sample.rows)
        for seed in run.config.experiments.seeds:
            for name, forecast in tree_forecast(train, test, run_rate, seed=seed).items():
                results.append((share, judged(shop, origin.test, name, seed, forecast)))
    return results


def _network_results(
    run: Run, shop: Shop, origin: Origin, samples: Mapping[float, Sample]
) -> list[tuple[float, Result]]:
    settings, folder = run.config.experiments, run.shop_dir / "runs" / "learning_curve"
    folder.mkdir(parents=True, exist_ok=True)
    features_file = folder / "features.npy"
    np.save(features_file, rows_of(shop.rows[origin.test]).features_NE)
    asked = [(share, seed) for share in samples for seed in settings.seeds]
    trials = [_trial(run, shop, samples, asked=each, features_file=features_file) for each in asked]
    results = []
    for (share, seed), (_, forecast_NP) in zip(asked, run_trials(trials, settings.processes), strict=True):
        forecast = Forecast.of_array(forecast_NP, shop.encoder.num_levels)
        results.append((share, judged(shop, origin.test, MODEL, seed, forecast)))
    shutil.rmtree(folder)
    return results


def _trial(
    run: Run, shop: Shop, samples: Mapping[float, Sample], *, asked: tuple[float, int], features_file: Path
) -> Trial:
    share, seed = asked
    job = trial_job(
        run.config,
        shop.encoder,
        train_files=samples[share].files,
        validation_files=samples[min(samples)].files,
        folder=features_file.parent / f"{split_of(share)}-{seed}",
    )
    return Trial(replace(job, seed=seed), features_file)
