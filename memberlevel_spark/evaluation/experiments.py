"""The job experiments: the configured model, variants of it and its rivals, over several test dates and seeds.

In: features and labels, made for the dates that lack them. Out: ``backtest_examples`` (a split is an as-of date here),
``experiments.json`` with every number, ``experiments.md`` with the tables, ``learning_curve.png``.

Nothing is chosen here: the model and its epochs are those of the configuration, and each test date is forecast by what
was trained on dates whose labels were known by then. The encoder is fitted once, on the earliest of these trainings.
No date is left for validation, so the model is shown without calibrators. ``calibrated`` is the same model with all of
them, fitted on its forecast of the latest earlier test date whose labels were known by then, where there is one.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from memberlevel_spark.config import Config
from memberlevel_spark.config.model import VariantConfig
from memberlevel_spark.evaluation.backtest import Judged, Origin, paired_differences, rolling_origins
from memberlevel_spark.evaluation.category_rivals import with_category_rivals
from memberlevel_spark.evaluation.comparison import Result, comparison_page, learning_curve_part
from memberlevel_spark.evaluation.experiment_shop import BACKTEST_EXAMPLES, MODEL, Shop, judged, trial_job
from memberlevel_spark.evaluation.forecasts import Forecast
from memberlevel_spark.evaluation.inputs import FloatArray
from memberlevel_spark.evaluation.learning_curve import learning_curve
from memberlevel_spark.evaluation.rivals import rival_forecasts, rows_of, tree_forecast
from memberlevel_spark.evaluation.run_rate import RunRate
from memberlevel_spark.evaluation.stage import histories_forecast
from memberlevel_spark.evaluation.trials import Trial, run_jobs, run_trials
from memberlevel_spark.examples.build import build_examples, examples_contract, join_features, join_outcomes
from memberlevel_spark.examples.encoder import input_tables
from memberlevel_spark.examples.stage import event_inputs, fit_encoder, reads_events, run_labels
from memberlevel_spark.features.stage import run_features
from memberlevel_spark.ingest.money import shop_digits
from memberlevel_spark.models.calibrators import Calibrators
from memberlevel_spark.run import RowCounts, Run, StageResult
from memberlevel_spark.scoring.apply import feature_matrix
from memberlevel_spark.scoring.predictor import NUMBERS, PackedModel, predict
from memberlevel_spark.training.calibration import HEADS, fit_calibrators
from memberlevel_spark.training.stage import pretraining_job, started_from

CALIBRATED = "calibrated"
IDENTITY = ("member_id", "level_now", "target_level")
log = logging.getLogger("memberlevel_spark")


def run_experiments(run: Run) -> StageResult:
    """Train, forecast, judge, and write the tables."""
    settings, timeline = run.config.experiments, run.config.timeline
    origins = rolling_origins(
        timeline.test,
        timeline.train.first,
        every_days=settings.every_days,
        num_tests=settings.num_tests,
        label=timeline.label,
    )
    shop = _prepared(run, origins)
    results = [*_rivals(run, shop, origins), *_networks(run, shop, origins)]
    differences = _differences(run, shop, origins, results)
    curve = learning_curve(run, shop, origins[-1])
    record = {
        "test_dates": [str(origin.test) for origin in origins],
        "results": [
            {"test": str(each.test), "forecaster": each.name, "seed": each.seed, **each.metrics} for each in results
        ],
        "differences": differences,
        "learning_curve": [point.plain() for point in curve],
    }
    (run.shop_dir / "experiments.json").write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
    page = run.shop_dir / "experiments.md"
    page.write_text(comparison_page(results, differences) + learning_curve_part(curve), encoding="utf-8")
    note = f"{len(origins)} test dates, {len(settings.seeds)} seeds, tables in {page}"
    return StageResult(RowCounts(0, 0), {BACKTEST_EXAMPLES.name: shop.version}, {}, note)


def _prepared(run: Run, origins: tuple[Origin, ...]) -> Shop:
    """Features and labels of all dates, encoded; the encoder knows the earliest test date's training dates only."""
    dates = sorted({day for origin in origins for day in (*origin.train, origin.test)})
    _add_missing(run, dates)
    compared = [run.config.model, *(_changed(run.config, v).model for v in run.config.experiments.variants.values())]
    events = event_inputs(run) if any(reads_events(model) for model in compared) else None
    inputs = [run.tables.read(name) for name in input_tables(events)]
    labels = run.tables.read("member_labels").where(F.col("as_of_date").isin(dates))
    labelled = join_outcomes(join_features(*inputs), labels, split=F.col("as_of_date"))
    earliest = labelled.where(F.col("as_of_date").isin(list(origins[0].train)))
    encoder = fit_encoder(run, earliest, events, compared)
    examples = build_examples(labelled, encoder, files_per_split=run.config.training.lanes)
    commit = run.tables.replace(examples_contract(encoder, BACKTEST_EXAMPLES), examples)
    written = run.tables.read(BACKTEST_EXAMPLES.name, commit.version).orderBy("as_of_date", "row_key").toArrow()
    rows = {day: written.filter(pc.equal(written.column("as_of_date"), day)) for day in dates}
    paths = run.tables.live_files(BACKTEST_EXAMPLES.name, commit.version)
    files = {day: tuple(path for path in paths if f"/split={day}/" in path) for day in dates}
    return Shop(encoder, commit.version, rows, files, 10.0 ** shop_digits(run.config.money))


def _add_missing(run: Run, dates: list[date]) -> None:
    for table, stage in (("member_features", run_features), ("member_labels", run_labels)):
        known = {row[0] for row in run.tables.read(table).select("as_of_date").distinct().collect()}
        missing = tuple(day for day in dates if day not in known)
        if missing:
            log.info("experiments: %s of %d more as-of dates", table, len(missing))
            stage(replace(run, as_of_dates=missing))


def _networks(run: Run, shop: Shop, origins: tuple[Origin, ...]) -> list[Result]:
    """The configured model on every test date, variants on some; every seed of each."""
    settings, folder = run.config.experiments, run.shop_dir / "runs" / "experiments"
    folder.mkdir(parents=True, exist_ok=True)
    some = set(origins[:: -settings.variants_every])
    asked = [(MODEL, run.config, origin) for origin in origins]
    asked += [
        (name, _changed(run.config, variant), origin)
        for name, variant in settings.variants.items()
        for origin in origins
        if origin in some
    ]
    files = {origin.test: folder / f"features-{origin.test}.npy" for origin in origins}
    for day, file in files.items():
        np.save(file, rows_of(shop.rows[day]).features_NE)
    named = [(name, config, origin, seed) for name, config, origin in asked for seed in settings.seeds]
    trials, pretrainings = [], {}
    for name, config, origin, seed in named:
        job = trial_job(
            config,
            shop.encoder,
            train_files=tuple(path for day in origin.train for path in shop.files[day]),
            validation_files=shop.files[origin.train[-1]],
            folder=folder / f"{name}-{origin.test}-{seed}",
        )
        if config.model.pretraining is not None:
            # One pretraining serves all seeds, and all models that go on from the same.
            kind = f"{config.model.pretraining}-{job.model.event_encoder}-{origin.test}"
            job = started_from(job, config, folder / kind)
            pretrainings[kind] = pretraining_job(job, config)
        trials.append(Trial(replace(job, seed=seed), files[origin.test]))
    results, given = [], {}
    run_jobs(list(pretrainings.values()), settings.processes)
    for (name, _, origin, seed), found in zip(named, run_trials(trials, settings.processes), strict=True):
        results.append(_judged_array(shop, origin.test, name, seed, found[1]))
        if name == MODEL:
            given[origin.test, seed] = found
    shutil.rmtree(folder)
    return [*results, *_calibrated(run, shop, given)]


def _calibrated(run: Run, shop: Shop, given: Mapping[tuple[date, int], tuple[PackedModel, np.ndarray]]) -> list[Result]:
    """The model of each test date and seed, calibrated on that seed's forecast of an earlier one."""
    results = []
    for (test, seed), (model, _) in given.items():
        known = [day for day, _ in given if day <= run.config.timeline.label.last_known_by(test)]
        if known:
            calibrators = _calibrators(shop, max(known), given[max(known), seed][1])
            calibrated = replace(model, calibrators_json=calibrators.to_json())
            forecast_NP = predict(calibrated, rows_of(shop.rows[test]).features_NE)
            results.append(_judged_array(shop, test, CALIBRATED, seed, forecast_NP))
    return results


def _changed(config: Config, variant: VariantConfig) -> Config:
    """The configuration with the variant's model."""
    changes = variant.model_dump(exclude_none=True)
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def _calibrators(shop: Shop, day: date, forecast_NP: np.ndarray) -> Calibrators:
    rows = shop.rows[day]
    outcomes_N2 = feature_matrix(rows.column("outcomes").combine_chunks())
    calibrated_NP = forecast_NP[:, : shop.encoder.num_levels + len(NUMBERS)]
    return fit_calibrators(calibrated_NP, rows.column("target_level").to_numpy(), outcomes_N2=outcomes_N2, heads=HEADS)


def _rivals(run: Run, shop: Shop, origins: tuple[Origin, ...]) -> list[Result]:
    config, results, told = run.config, [], shop.encoder.next_categories
    examples = run.tables.read(BACKTEST_EXAMPLES.name, shop.version)
    run_rate = RunRate.of(config, shop.encoder)
    for origin in origins:
        train = rows_of(pa.concat_tables(shop.rows[day] for day in origin.train))
        test = rows_of(shop.rows[origin.test])
        member_N = shop.rows[origin.test].column("member_id").to_numpy().astype(str)
        forecasts = histories_forecast(run.tables.read("member_days"), origin.test, member_N, run_rate)
        results += [judged(shop, origin.test, name, 0, forecast) for name, forecast in forecasts.items()]
        for seed in config.experiments.seeds:
            # Only the trees draw lots; the others are the same with every seed.
            make = rival_forecasts if seed == config.experiments.seeds[0] else tree_forecast
            forecasts = make(train, test, run_rate, seed=seed)
            if told and make is rival_forecasts:
                learned = examples.where(F.col("as_of_date").isin(list(origin.train)))
                forecasts, _ = with_category_rivals(
                    run, forecasts, learned, test=origin.test, member_N=member_N, categories=told
                )
            results += [judged(shop, origin.test, name, seed, forecast) for name, forecast in forecasts.items()]
    return results


def _judged_array(shop: Shop, day: date, name: str, seed: int, forecast_NP: np.ndarray) -> Result:
    return judged(shop, day, name, seed, Forecast.of_array(forecast_NP, shop.encoder.num_levels))


def _differences(
    run: Run, shop: Shop, origins: tuple[Origin, ...], results: list[Result]
) -> dict[str, list[dict[str, Any]]]:
    """The model less each other forecaster, on the test dates that both were asked for."""
    settings, found = run.config.experiments, {}
    levelled = [result.name for result in results if result.p_level_NK is not None and result.name != MODEL]
    for name in dict.fromkeys(levelled):
        dates = []
        for origin in origins:
            by_name = {each: _levels_of(results, origin.test, each) for each in (MODEL, name)}
            if by_name[name]:
                rows = shop.rows[origin.test]
                member_N, now_N, target_N = (rows.column(name).to_numpy() for name in IDENTITY)
                dates.append(Judged(member_N.astype(str), now_N, target_N, by_name))
        told = paired_differences(dates, (MODEL, name), num_resamples=settings.num_resamples, seed=run.config.seed)
        found[name] = [vars(difference) for difference in told]
    return found


def _levels_of(results: list[Result], day: date, name: str) -> list[FloatArray]:
    """Of each seed."""
    asked = [result.p_level_NK for result in results if (result.test, result.name) == (day, name)]
    return [p_level_NK for p_level_NK in asked if p_level_NK is not None]
