"""Members' last events: how they are read, and what an encoder learns of them before any outcome is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.models.events import EventEncoder
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.pretraining import PRETEXTS, PretextNetwork, stretch_of
from memberlevel_spark.models.sequences import SequenceEncoder
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.scoring.predictor import PackedModel, embed
from memberlevel_spark.training.artefacts import read_run
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from tests.torch.made_examples import NUM_FEATURES, NUM_LEVELS, job, replaced, write_table
from tests.torch.made_examples import examples_table as plain_table

pytestmark = pytest.mark.torch

NUM_EVENTS = 6
SIZES = (4, 5, 3, 9, 25, 8)
KINDS = ("cnn", "lstm", "gru", "transformer")
# Type, category, channel, product bucket, hour, weekday; amount, gap, age: the newest of two events, then padding.
TWO_EVENTS = [
    *[3, 1, 0, 0, 0, 0], *[2, 4, 0, 0, 0, 0], *[1, 2, 0, 0, 0, 0], *[8, 7, 0, 0, 0, 0], *[24, 1, 0, 0, 0, 0],
    *[7, 1, 0, 0, 0, 0], *[0.5, 0.25, 0, 0, 0, 0], *[0.1, 0.2, 0, 0, 0, 0], *[0.3, 0.4, 0, 0, 0, 0],
]  # fmt: skip


def spec_of(name: str, **changes: object) -> ModelSpec:
    values = {"hidden": (16,), "dropout": 0.1, "events": (NUM_EVENTS, *SIZES), "reads": ("features", "events")}
    return ModelSpec(name, NUM_FEATURES + len(TWO_EVENTS), NUM_LEVELS, **{**values, **changes})  # type: ignore[arg-type]


def event_values(num_rows: int, seed: int) -> np.ndarray:
    """Random sequences, some of them empty; a member's categories repeat: the parity of the first goes on."""
    random = np.random.default_rng(seed)
    values = np.zeros((num_rows, 9, NUM_EVENTS), dtype=np.float32)
    length = random.integers(0, NUM_EVENTS + 1, num_rows)
    is_there = np.arange(NUM_EVENTS) < length[:, None]
    for place, size in enumerate(SIZES):
        values[:, place] = random.integers(1, size, (num_rows, NUM_EVENTS)) * is_there
    taste = random.integers(1, SIZES[1], (num_rows, 1))
    values[:, 0], values[:, 1] = is_there, taste * is_there
    values[:, 6:] = random.uniform(0, 1, (num_rows, 3, NUM_EVENTS)) * is_there[:, None]
    return values.reshape(num_rows, -1)


def event_job(folder: Path, **changes: object) -> TrainingJob:
    """A job on examples that end with events."""

    def table(first_key: int, num_rows: int) -> pa.Table:
        plain = plain_table(first_key, num_rows)
        features = np.stack(plain.column("features").to_numpy())
        whole = np.concatenate([features, event_values(num_rows, first_key)], axis=1)
        kind = plain.schema.field("features").type
        return replaced(plain, "features", pa.array(list(whole), type=kind))

    train = [write_table(table(1000 * part, 256), folder, part=part) for part in range(4)]
    validation = [write_table(table(9000, 256), folder, part=0, split="validation")]
    return job(folder, train, validation, model=spec_of("gru"), **changes)


def test_the_numbers_of_an_event_stand_together_the_oldest_event_first() -> None:
    encoder = EventEncoder(spec_of("gru"))
    row = torch.tensor([[9.0] * NUM_FEATURES + TWO_EVENTS])
    values = encoder.values(row)
    assert values[0, -1].tolist() == pytest.approx([3, 2, 1, 8, 24, 7, 0.5, 0.1, 0.3])
    assert values[0, -2].tolist() == pytest.approx([1, 4, 2, 7, 1, 1, 0.25, 0.2, 0.4])
    assert values[0, :-2].abs().sum() == 0
    assert encoder.embed(values)[1].tolist() == [[False] * 4 + [True] * 2]


@pytest.mark.parametrize("name", [*KINDS, "fusion"])
def test_events_count_and_so_does_their_order(name: str) -> None:
    weekly = {"num_features": 16 + len(TWO_EVENTS), "weekly": (2, 3), "reads": ()} if name == "fusion" else {}
    spec = replace(spec_of(name), **weekly)  # type: ignore[arg-type]
    torch.manual_seed(1)
    network = build_network(spec).eval()
    values = torch.tensor(TWO_EVENTS).view(9, NUM_EVENTS)
    turned = values.clone()
    turned[:, :2] = values[:, :2].flip(1)
    rows = torch.zeros(3, spec.num_features)
    rows[0, -54:], rows[1, -54:] = values.reshape(-1), turned.reshape(-1)
    forecasts = network(rows).log_p_level_BK
    assert torch.isfinite(forecasts).all()
    assert (forecasts[0] - forecasts[1]).abs().sum() > 0 and (forecasts[0] - forecasts[2]).abs().sum() > 0


@pytest.mark.parametrize("name", KINDS)
def test_the_summary_is_of_the_steps_that_are_there_and_0_without_any(name: str) -> None:
    torch.manual_seed(1)
    encoder = SequenceEncoder(name, 2, 4, num_channels=48, dropout=0.0).eval()
    steps = torch.randn(1, 4, 2)
    is_there = torch.tensor([[False, True, True, False]])
    states, summary = encoder.states(steps, is_there), encoder(steps, is_there)
    torch.testing.assert_close(summary, torch.cat([states[:, 1:3].mean(dim=1), states[:, 2]], dim=1))
    other = steps.clone()
    other[:, [0, 3]] = 7.0
    torch.testing.assert_close(encoder(other, is_there), summary)
    assert encoder(steps, torch.zeros_like(is_there)).abs().sum() == 0


@pytest.mark.parametrize(("name", "causal"), [(name, True) for name in KINDS])
def test_a_causal_state_depends_on_earlier_steps_only(name: str, causal: bool) -> None:
    torch.manual_seed(1)
    encoder = SequenceEncoder(name, 2, 4, num_channels=48, dropout=0.0, causal=causal).eval()
    steps, is_there = torch.randn(1, 4, 2), torch.ones(1, 4, dtype=torch.bool)
    later = steps.clone()
    later[:, 2:] += 1.0
    before, after = encoder.states(steps, is_there), encoder.states(later, is_there)
    torch.testing.assert_close(after[:, :2], before[:, :2])
    assert (after[:, 2] - before[:, 2]).abs().sum() > 0


def test_what_a_model_reads_is_all_that_it_depends_on() -> None:
    rows = torch.randn(8, 16 + len(TWO_EVENTS))
    rows[:, 16:] = torch.tensor(TWO_EVENTS)
    places = {"features": slice(0, 7), "weeks": slice(7, 13), "events": slice(16, None)}
    for reads in (("weeks",), ("events",), ("features",), ("weeks", "events")):
        spec = replace(spec_of("gru"), num_features=16 + len(TWO_EVENTS), weekly=(2, 3), reads=reads)
        network = build_network(spec).eval()
        for part, place in places.items():
            other = rows.clone()
            other[:, place] = other[:, place].roll(1, dims=1)
            if part == "events":
                other[:, place] = rows[:, place] * (rows[:, place] > 3)
            changed = not torch.equal(network(other).log_p_level_BK, network(rows).log_p_level_BK)
            # Without the features the weekly tiles, which are among them, may still be read.
            assert changed == (part in reads or (part == "weeks" and "features" in reads)), (reads, part)


def test_a_model_cannot_read_what_is_not_there() -> None:
    with pytest.raises(ConfigError, match="gru reads events, and there are none"):
        spec_of("gru", events=())
    with pytest.raises(ConfigError, match=r"unknown input of a model: 'clicks'.*nearest"):
        spec_of("gru", reads=("clicks",))


def test_a_stretch_is_of_the_events_that_are_there() -> None:
    is_there = torch.tensor([[False, False, True, True, True, True], [False] * 6, [False] * 5 + [True]])
    first = stretch_of(is_there, torch.tensor([[0.0, 0.0]] * 3))
    assert first.int().tolist() == [[0, 0, 1, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 0, 1]]
    last = stretch_of(is_there, torch.tensor([[0.99, 0.99]] * 3))
    assert last.int().tolist() == [[0, 0, 0, 0, 1, 1], [0] * 6, [0, 0, 0, 0, 0, 1]]


@pytest.mark.parametrize("task", PRETEXTS)
@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_every_task_has_a_gradient_for_every_weight_and_nothing_to_say_of_a_row_without_events(
    name: str, task: str
) -> None:
    torch.manual_seed(1)
    network = PretextNetwork(spec_of(name, causal=task == "next"), task, group_rows=32)  # type: ignore[arg-type]
    rows = torch.cat([torch.zeros(64, NUM_FEATURES), torch.from_numpy(event_values(64, 1))], dim=1)
    rows[0] = 0.0
    guess = network(rows)
    assert guess.loss_B[0] == 0 and torch.isfinite(guess.loss_B).all() and guess.loss_B.sum() > 0
    guess.loss_B.sum().backward()
    for name_of, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name_of
        assert parameter.grad.abs().sum() > 0, name_of


def test_a_hidden_event_is_told_from_the_others_alone() -> None:
    """Where nothing is left to chance the newest is hidden and every seventh before it."""
    torch.manual_seed(1)
    network = PretextNetwork(spec_of("transformer"), "masked", group_rows=2).eval()
    asked = network._masked(torch.ones(1, 15, dtype=torch.bool))
    assert asked[0].nonzero().flatten().tolist() == [0, 7, 14]
    rows = torch.zeros(1, NUM_FEATURES + len(TWO_EVENTS))
    rows[:, NUM_FEATURES:] = torch.tensor(TWO_EVENTS)
    other = rows.clone()
    other[:, NUM_FEATURES + 3 * NUM_EVENTS] = 5  # another product in the newest event, which nothing asks for
    torch.testing.assert_close(network(other).loss_B, network(rows).loss_B, rtol=0, atol=0)
    other[:, NUM_FEATURES + 3 * NUM_EVENTS + 1] = 5  # another product in the event before it
    assert not torch.equal(network(other).loss_B, network(rows).loss_B)


@pytest.mark.parametrize("task", PRETEXTS)
def test_pretraining_learns_and_what_it_learned_is_taken_over(tmp_path: Path, task: str) -> None:
    plain = event_job(tmp_path, max_epochs=6)
    causal = replace(plain.model, causal=task == "next")
    pretraining = replace(plain, run_dir=str(tmp_path / "pretraining"), task=task, model=causal)  # type: ignore[arg-type]
    Path(pretraining.run_dir).mkdir()
    trained = run_training(pretraining)
    assert trained.best.validation_log_loss < trained.points[0].validation_log_loss
    weights = load_file(tmp_path / "pretraining" / "model.safetensors")
    frozen = replace(plain, run_dir=str(tmp_path / "frozen"), model=causal, start_from=pretraining.run_dir, frozen=True)
    Path(frozen.run_dir).mkdir()
    run_training(frozen)
    kept = load_file(tmp_path / "frozen" / "model.safetensors")
    for name, value in weights.items():
        if name.startswith("events."):
            torch.testing.assert_close(kept[f"body.{name}"], value, rtol=0, atol=0)
    tuned = replace(frozen, run_dir=str(tmp_path / "tuned"), frozen=False)
    Path(tuned.run_dir).mkdir()
    run_training(tuned)
    moved = load_file(tmp_path / "tuned" / "model.safetensors")["body.events.numbers.weight"]
    assert (moved - weights["events.numbers.weight"]).abs().sum() > 0


def test_the_outcomes_have_no_say_in_pretraining(tmp_path: Path) -> None:
    plain = event_job(tmp_path, max_epochs=1)
    results = []
    for name, files in (("true", plain.train_files), ("false", ())):
        wrong = []
        for part, path in enumerate(plain.train_files):
            table = pa.parquet.read_table(path)
            none = replaced(table, "target_level", pa.array(np.zeros(table.num_rows, dtype=np.int32)))
            wrong.append(write_table(none, tmp_path / "wrong", part=part))
        chosen = replace(plain, run_dir=str(tmp_path / name), train_files=tuple(files) or tuple(wrong), task="masked")
        Path(chosen.run_dir).mkdir()
        results.append(load_file(run_training(chosen).run_dir / "model.safetensors"))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=0, atol=0)


def test_only_a_finished_pretraining_of_the_same_encoder_is_taken_over(tmp_path: Path) -> None:
    plain = event_job(tmp_path, max_epochs=1)
    with pytest.raises(ArtefactError, match="holds no finished pretraining"):
        run_training(replace(plain, start_from=str(tmp_path / "nowhere")))
    pretraining = replace(plain, run_dir=str(tmp_path / "lstm"), task="masked", model=spec_of("lstm"))
    Path(pretraining.run_dir).mkdir()
    run_training(pretraining)
    with pytest.raises(ArtefactError, match="holds another encoder of events"):
        run_training(replace(plain, start_from=pretraining.run_dir))


def test_an_embedding_is_the_same_whichever_rows_come_with_it(tmp_path: Path) -> None:
    pretraining = replace(event_job(tmp_path, max_epochs=1), task="contrastive")
    run_dir = run_training(pretraining).run_dir
    assert read_run(run_dir).model == pretraining.model
    model = PackedModel.of({name: (run_dir / name).read_bytes() for name in ("model.safetensors", "model.json")})
    rows = np.concatenate([np.zeros((40, NUM_FEATURES), np.float32), event_values(40, 3)], axis=1)
    vectors = embed(model, rows)
    assert vectors.shape == (40, 96) and vectors.dtype == np.float32
    assert np.array_equal(embed(model, rows[7:9]), vectors[7:9])
    assert not np.array_equal(vectors[0], vectors[1])
