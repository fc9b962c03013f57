"""What a training row counts: by its level and its age, on any number of ranks."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.utils.class_weight import compute_class_weight

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.feed.counts import count_rows
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.training.artefacts import TrainedRun
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from memberlevel_spark.training.weights import RowWeights, row_weights, weights_of
from tests.torch.made_examples import (
    NUM_FEATURES,
    NUM_LEVELS,
    PLAIN,
    changed,
    examples_table,
    job,
    replaced,
    write_examples,
    write_table,
)

pytestmark = pytest.mark.torch

FLAT = ModelSpec("mlp", NUM_FEATURES, NUM_LEVELS, hidden=(16,), dropout=0.0)


def weighted(**settings: object) -> object:
    return PLAIN.model_copy(update=settings)


def on_day(table: pa.Table, day: int) -> pa.Table:
    return replaced(table, "as_of_day", pa.array([day] * len(table), type=pa.int32()))


def in_groups(table: pa.Table, groups: list[int]) -> pa.Table:
    return table.append_column("group_age", pa.array([[group] for group in groups], type=pa.list_(pa.int32())))


def test_weights_of_literal_rows() -> None:
    """Level 0: 4 / (3 · 3); level 1: 4 / (3 · 1); ten days are a half-life; divided by the mean of the four rows."""
    rows = {(100, 0): 2, (100, 1): 1, (110, 0): 1}
    both = weights_of(rows, weighted(class_weights="balanced", recency_half_life_days=10.0), num_levels=3)
    assert [both.of(100, 0), both.of(100, 1), both.of(110, 0)] == pytest.approx([4 / 7, 12 / 7, 8 / 7])
    aged = weights_of(rows, weighted(recency_half_life_days=5.0), num_levels=3)
    assert [aged.of(110, 0) / aged.of(100, 1), aged.of(105, 2) / aged.of(100, 2)] == pytest.approx([4, 2])
    assert aged.last_day == 110


def test_balanced_weights_are_those_of_sklearn_over_their_mean() -> None:
    levels = np.array([0] * 50 + [1] * 30 + [2] * 5)
    rows = {(7, level): int(count) for level, count in enumerate(np.bincount(levels))}
    found = weights_of(rows, weighted(class_weights="balanced"), num_levels=3)
    oracle = compute_class_weight("balanced", classes=np.arange(3), y=levels)
    assert found.by_level == pytest.approx(tuple(oracle / oracle[levels].mean()))
    assert np.array(found.by_level)[levels].mean() == pytest.approx(1)


def test_rows_are_counted_over_all_files_and_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    table = examples_table(0, 50)
    paths = [write_table(on_day(table, day), tmp_path, part=part, row_group_rows=20) for part, day in enumerate((5, 6))]
    levels = np.bincount(table.column("target_level").to_numpy())
    expected = {(day, level): int(count) for day in (5, 6) for level, count in enumerate(levels)}
    assert count_rows(paths, ("as_of_day", "target_level")) == expected
    with pytest.raises(
        ArtefactError, match=r"examples cannot be counted: .*gone\.parquet .*pinned version still exists"
    ):
        count_rows([*paths, str(tmp_path / "gone.parquet")], ("as_of_day",))


def test_without_settings_every_row_counts_the_same_and_no_file_is_read() -> None:
    assert row_weights(("/nowhere",), PLAIN, num_levels=3) is None


def test_weights_travel_with_the_job_and_make_it_another_one(tmp_path: Path) -> None:
    plain = job(tmp_path, ["/a"], ["/b"])
    heavy = replace(plain, weights=RowWeights((0.5, 1.5), 19_000, None))
    assert TrainingJob.from_json(heavy.to_json()) == heavy
    assert TrainingJob.from_json(plain.to_json()) == plain
    assert heavy.fingerprint != plain.fingerprint


def test_reweighing_makes_levels_equally_frequent_in_all_groups() -> None:
    """Kamiran and Calders: P(group) · P(level) / P(group, level). Of ten rows six are of group 0, five of level 1."""
    rows = {(100, 0, 0): 4, (107, 1, 0): 2, (100, 0, 1): 1, (100, 1, 1): 2, (107, 1, 1): 1}
    found = weights_of(rows, weighted(reweighing="age"), num_levels=3)
    assert found.by_level == pytest.approx((1.0, 1.0, 1.0))
    assert found.by_group == (
        pytest.approx((0.6 * 0.5 / 0.4, 0.6 * 0.5 / 0.2, 1.0)),
        pytest.approx((0.4 * 0.5 / 0.1, 0.4 * 0.5 / 0.3, 1.0)),
    )
    of_level = {
        (group, level): sum(found.of(*row) * count for row, count in rows.items() if row[1:] == (level, group))
        for group in (0, 1)
        for level in (0, 1)
    }
    assert [of_level[group, 1] / (of_level[group, 0] + of_level[group, 1]) for group in (0, 1)] == pytest.approx(
        [0.5] * 2
    )
    assert sum(of_level.values()) == pytest.approx(10)


def test_reweighing_balance_and_age_are_multiplied_and_the_mean_stays_one() -> None:
    rows = {(100, 0, 0): 4, (107, 1, 0): 2, (100, 0, 1): 1, (100, 1, 1): 2, (107, 1, 1): 1}
    settings = {"class_weights": "balanced", "recency_half_life_days": 7.0}
    both = weights_of(rows, weighted(reweighing="age", **settings), num_levels=2)
    assert sum(both.of(*row) * count for row, count in rows.items()) == pytest.approx(10)
    assert both.of(107, 1, 0) / both.of(107, 1, 1) == pytest.approx((0.3 / 0.2) / (0.2 / 0.3))
    assert both.of(107, 1, 0) / both.of(100, 1, 0) == pytest.approx(2)
    assert RowWeights.from_dict(json.loads(json.dumps(asdict(both)))) == both


def test_rows_are_counted_by_their_group_too(tmp_path: Path) -> None:
    paths = [write_table(in_groups(examples_table(0, 6), [0, 0, 1, 1, 1, 2]), tmp_path, part=0)]
    assert count_rows(paths, ("as_of_day", "group_age")) == {(19_000, 0): 2, (19_000, 1): 3, (19_000, 2): 1}


def test_reweighed_rows_teach_what_rows_of_equal_cells_teach(tmp_path: Path) -> None:
    """Of 40 rows a group, 30 are of one level and 10 of the other, the other way round in the other group; there the
    rare ones are thrice. One step an epoch, all rows in it."""
    table = examples_table(0, 600)
    level = table.column("target_level").to_numpy()
    low, high = (np.flatnonzero(level == each)[:40] for each in (0, 2))
    cells = {0: (low[:30], high[:10]), 1: (high[10:], low[30:])}
    once, thrice = [], []
    for group, (many, few) in cells.items():
        rows = table.take(np.concatenate([many, few]))
        once.append(in_groups(rows, [group] * 40))
        copies = [replaced(table.take(few), "row_key", pa.array(few + 1000 * copy)) for copy in (1, 2)]
        thrice.append(pa.concat_tables([rows, *copies]))
    write = {"once": once, "thrice": thrice}
    files = {
        name: tuple(write_table(each, tmp_path / name, part=part) for part, each in enumerate(tables))
        for name, tables in write.items()
    }
    settings = {"model": FLAT, "batch_rows": 160, "max_epochs": 5, "lists": {"group_age": ("int32", 1)}}
    weighed = job(tmp_path, files["once"], files["once"], reweighing="age", **settings)
    plain = changed(weighed, reweighing=None, run_dir=str(tmp_path / "plain"))
    repeated = changed(plain, train_files=files["thrice"], lists={}, run_dir=str(tmp_path / "thrice"))
    found, expected, other = (curves(run_training(each)) for each in (weighed, repeated, plain))
    assert found == pytest.approx(expected, abs=2e-5)
    assert found != pytest.approx(other, abs=1e-3)


def curves(run: TrainedRun) -> list[float]:
    return [value for point in run.points for value in (point.train_log_loss, point.validation_log_loss)]


def test_a_row_that_counts_twice_teaches_what_two_rows_teach(tmp_path: Path) -> None:
    """One step an epoch, all rows in it; the younger rows count twice, or are there twice."""
    old, young = on_day(examples_table(0, 60), 100), on_day(examples_table(500, 40), 110)
    again = replaced(young, "row_key", pa.array(range(900, 940)))
    once = tuple(write_table(table, tmp_path / "once", part=part) for part, table in enumerate((old, young)))
    twice = tuple(write_table(table, tmp_path / "twice", part=part) for part, table in enumerate((old, young, again)))
    settings = {"model": FLAT, "batch_rows": 160, "max_epochs": 6}
    weighed = job(tmp_path, once, once, recency_half_life_days=10.0, **settings)
    doubled = changed(weighed, recency_half_life_days=None, run_dir=str(tmp_path / "doubled"), train_files=twice)
    plain = changed(doubled, train_files=once, run_dir=str(tmp_path / "plain"))
    found, expected, other = (curves(run_training(each)) for each in (weighed, doubled, plain))
    assert found == pytest.approx(expected, abs=2e-5)
    assert found != pytest.approx(other, abs=1e-3)


def test_what_was_true_long_ago_is_forgotten(tmp_path: Path) -> None:
    """Of the old rows, which are more, the levels are turned round."""
    old = examples_table(0, 300)
    turned = replaced(old, "target_level", pa.array(2 - old.column("target_level").to_numpy(), type=pa.int32()))
    tables = on_day(turned, 100), on_day(examples_table(500, 150), 160)
    train = tuple(write_table(table, tmp_path, part=part) for part, table in enumerate(tables))
    validation = write_examples(tmp_path, [100], split="validation", first_key=10_000)
    plain = job(tmp_path, train, validation, max_epochs=15)
    recent = changed(plain, recency_half_life_days=10.0, run_dir=str(tmp_path / "recent"))
    assert run_training(plain).points[-1].validation_accuracy < 0.6
    assert run_training(recent).points[-1].validation_accuracy > 0.85


def test_a_rare_level_is_found_more_often_and_a_missing_one_does_no_harm(tmp_path: Path) -> None:
    table = examples_table(0, 600)
    levels = table.column("target_level").to_numpy()
    kept = np.flatnonzero((levels == 0) | ((levels == 1) & (np.arange(600) % 12 == 0)))
    train = (write_table(table.take(kept), tmp_path, part=0),)
    ones = examples_table(10_000, 300).filter(pa.compute.equal(examples_table(10_000, 300).column("target_level"), 1))
    validation = (write_table(ones, tmp_path, part=1, split="validation"),)
    plain = job(tmp_path, train, validation, model=FLAT, max_epochs=6)
    balanced = changed(plain, class_weights="balanced", run_dir=str(tmp_path / "balanced"))
    found = {each.training.class_weights: run_training(each).points[-1] for each in (plain, balanced)}
    assert found["balanced"].validation_accuracy > found["none"].validation_accuracy + 0.1


def test_two_ranks_weigh_rows_as_one_does(tmp_path: Path) -> None:
    tables = [on_day(examples_table(first, 90), day) for first, day in ((0, 100), (200, 107), (400, 130))]
    train = tuple(write_table(table, tmp_path, part=part) for part, table in enumerate(tables))
    settings = {"class_weights": "balanced", "recency_half_life_days": 9.0, "max_epochs": 2}
    alone = job(tmp_path, train, train, **settings)
    pair = changed(alone, how="torchrun", num_processes=2, run_dir=str(tmp_path / "two"))
    assert curves(run_training(pair)) == pytest.approx(curves(run_training(alone)), abs=1e-5)
