"""Networks made smaller: pruned, in 8 bits, taught by another one; literal weights, scipy and float are the oracles."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from torch import nn

from memberlevel_spark.errors import ArtefactError, ConfigError
from memberlevel_spark.evaluation.compression import Members, in_int8, measure, pruned_model
from memberlevel_spark.evaluation.forecasts import Actuals
from memberlevel_spark.feed.fields import Fields
from memberlevel_spark.feed.loader import FeedLoader
from memberlevel_spark.feed.plan import plan_feed, read_row_groups
from memberlevel_spark.models.int8 import LARGEST, Int8Linear, product_BO
from memberlevel_spark.models.losses import distillation_loss_B
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.pruning import pruned, share_of_zeros
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.scoring.predictor import PackedModel, load_network, predict
from memberlevel_spark.training.artefacts import load_network as load_run
from memberlevel_spark.training.artefacts import read_run
from memberlevel_spark.training.job import TrainingJob
from memberlevel_spark.training.launch import run_training
from tests.torch.made_examples import NUM_FEATURES, NUM_LEVELS, changed, job, results, small_job
from tests.torch.test_training import run_in_two_processes

pytestmark = pytest.mark.torch

DISTILLED = {"share": 1.0, "temperature": 2.0}


def small_network() -> nn.Sequential:
    network = nn.Sequential(nn.Conv1d(1, 1, 2), nn.Linear(2, 3))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[[0.5, -0.01]]]))
        network[0].bias.fill_(0.001)
        network[1].weight.copy_(torch.tensor([[-0.2, 0.03], [3.0, -0.04], [0.6, 0.02]]))
        network[1].bias.fill_(0.002)
    return network


def test_the_smallest_weights_of_all_layers_together_become_0_and_biases_stay() -> None:
    network = small_network()
    smaller = pruned(network, 0.5)
    assert smaller.get_parameter("0.weight").tolist() == [[[0.5, 0.0]]]
    found = smaller.get_parameter("1.weight")
    assert torch.equal(found, torch.tensor([[-0.2, 0.0], [3.0, 0.0], [0.6, 0.0]]))
    assert (smaller.get_parameter("0.bias").item(), smaller.get_parameter("1.bias")[0].item()) == pytest.approx(
        (0.001, 0.002)
    )
    assert (share_of_zeros(network), share_of_zeros(smaller)) == (0.0, 0.5)
    assert sorted(smaller.state_dict()) == sorted(network.state_dict())


def test_a_layer_in_8_bits_is_near_the_float_one_by_its_steps() -> None:
    torch.manual_seed(1)
    linear, rows = nn.Linear(40, 24), torch.randn(64, 40)
    rows[3], rows[4] = 0.0, rows[4] * 1e4
    found = Int8Linear(linear)(rows)
    row_step = rows.abs().amax(dim=1, keepdim=True) / LARGEST
    weight_step = linear.weight.abs().amax(dim=1) / LARGEST
    # |x w - x' w'| <= |x - x'| |w| + |x'| |w - w'|, each at most half a step away, and |x'| <= |x| + half a step.
    by_rows = row_step / 2 * linear.weight.abs().sum(dim=1)
    by_weights = (rows.abs().sum(dim=1, keepdim=True) + 40 * row_step / 2) * weight_step / 2
    gap = (found - linear(rows)).abs()
    assert bool((gap <= (by_rows + by_weights) * 1.0001 + 1e-6).all())
    assert gap.max().item() > 1e-4  # it does compute with fewer bits
    assert torch.allclose(found[3], linear.bias)


def test_both_arithmetics_give_the_same_sums_also_of_the_largest_numbers() -> None:
    random = np.random.default_rng(4)
    whole_BI, weight_OI = (random.integers(-LARGEST, LARGEST + 1, (rows, 1040)) for rows in (50, 7))
    whole_BI[0], weight_OI[0], weight_OI[1] = LARGEST, LARGEST, -LARGEST
    expected = (whole_BI @ weight_OI.T).tolist()
    assert expected[0][:2] == [16_774_160, -16_774_160]
    given = torch.from_numpy(whole_BI).float(), torch.from_numpy(weight_OI).to(torch.int8)
    assert product_BO(*given, whole=True).tolist() == product_BO(*given, whole=False).tolist() == expected


@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_a_row_in_8_bits_does_not_depend_on_the_rows_beside_it(name: str) -> None:
    torch.manual_seed(2)
    spec = ModelSpec(name, 14, 4, hidden=(32, 16), weekly=(2, 4), int8=True)
    network, rows = build_network(spec).eval(), torch.randn(1024, 14)
    beside_large = torch.cat([rows[:512], rows[512:] * 1e6])
    with torch.inference_mode():
        alone, beside = network(rows).log_p_level_BK, network(beside_large).log_p_level_BK
    assert torch.equal(alone[:512], beside[:512])
    assert not torch.equal(alone[512:], beside[512:])


def trained_model(tmp_path: Path) -> tuple[TrainingJob, PackedModel]:
    plain = small_job(tmp_path, model=ModelSpec("mlp", NUM_FEATURES, NUM_LEVELS, hidden=(64, 64)), max_epochs=10)
    run_training(plain)
    return plain, PackedModel.of(results(plain))


def test_smaller_models_survive_their_files_and_are_measured_beside_the_whole_one(tmp_path: Path) -> None:
    plain, whole = trained_model(tmp_path)
    rows = batch_of(plain.validation_files, 100).features_BF.numpy()
    models = {"model": whole, "int8": in_int8(whole), "pruned": pruned_model(whole, 0.9)}
    assert models["int8"].spec == replace(plain.model, int8=True) and "int8" not in json.loads(whole.spec_json)
    with torch.inference_mode():
        direct = load_network(models["int8"])(torch.from_numpy(rows)).log_p_level_BK.double().softmax(dim=1)
    np.testing.assert_allclose(predict(models["int8"], rows)[:, :NUM_LEVELS], direct, atol=1e-6)
    level_N = batch_of(plain.validation_files, 100).target_B.numpy()
    actuals = Actuals.of(level_N, np.zeros_like(level_N), np.ones((100, 2)), unit=1.0)
    found = {each.name: each for each in measure(models, Members(rows, actuals, 1.0), num_timings=1)}
    assert (found["model"].same_level_share, found["model"].mean_gap) == (1.0, 0.0)
    assert found["int8"].same_level_share > 0.95 and 0 < found["int8"].mean_gap < 0.01
    assert found["pruned"].mean_gap > found["int8"].mean_gap
    assert found["pruned"].share_of_zeros == pytest.approx(0.9, abs=0.001) and found["model"].share_of_zeros == 0.0
    assert found["int8"].num_bytes < 0.5 * found["model"].num_bytes == 0.5 * len(whole.weights)
    assert found["pruned"].num_bytes == found["model"].num_bytes
    assert found["pruned"].num_bytes_zstd < 0.4 * found["model"].num_bytes_zstd
    assert min(each.network_rows_per_second for each in found.values()) > 0
    assert all(
        each.metrics["accuracy"] is not None and each.metrics["spend_mae"] is not None for each in found.values()
    )


def batch_of(files: tuple[str, ...], num_rows: int):  # type: ignore[no-untyped-def]
    plan = plan_feed(read_row_groups(files), world_size=1, batch_rows=num_rows, num_lanes=1)
    (batch,) = FeedLoader(plan, 0, fields=Fields(NUM_FEATURES), seed=None).epoch(0)
    return batch


def test_the_distance_to_a_teacher_is_the_divergence_of_softened_probabilities() -> None:
    p, teacher, temperature = np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.6, 0.3]]), 3.0
    soft, soft_teacher = (each ** (1 / temperature) for each in (p, teacher))
    expected = temperature**2 * rel_entr(soft_teacher / soft_teacher.sum(), soft / soft.sum()).sum()
    logs = [torch.from_numpy(np.log(each)) for each in (p, teacher)]
    assert distillation_loss_B(*logs, temperature=temperature).item() == pytest.approx(expected)
    assert distillation_loss_B(logs[1], logs[1], temperature=temperature).item() == pytest.approx(0.0, abs=1e-12)


def mean_divergence(student: TrainingJob, teacher: TrainingJob) -> float:
    """KL(teacher || student) over the validation rows, in nats."""
    features_BF = batch_of(teacher.validation_files, 100).features_BF
    with torch.inference_mode():
        p, p_student = (
            load_run(Path(each.run_dir))(features_BF).log_p_level_BK.exp().numpy() for each in (teacher, student)
        )
    return float(rel_entr(p, p_student).sum(axis=1).mean())


def test_a_student_learns_the_teachers_probabilities_and_not_the_labels(tmp_path: Path) -> None:
    """The teacher is unsure, as it learned little; one that learned from the labels alone would soon be surer."""
    teacher = small_job(tmp_path, max_epochs=2, model=ModelSpec("mlp", NUM_FEATURES, NUM_LEVELS, (16,), dropout=0.0))
    run_training(teacher)
    student = changed(teacher, teacher_dir=teacher.run_dir, seed=8, keep="last", distillation=DISTILLED)
    distances = []
    for epochs in (1, 5, 20):
        taught = changed(student, run_dir=str(tmp_path / f"student-{epochs}"), max_epochs=epochs)
        run_training(taught)
        distances.append(mean_divergence(taught, teacher))
    untaught = changed(taught, run_dir=str(tmp_path / "untaught"), teacher_dir=None)
    run_training(untaught)
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.006 < 1 < mean_divergence(untaught, teacher)


def test_with_share_0_a_teacher_changes_nothing_and_with_another_share_it_does(tmp_path: Path) -> None:
    teacher = small_job(tmp_path)
    run_training(teacher)
    for share, same in ((0.0, True), (0.3, False)):
        student = changed(
            teacher,
            run_dir=str(tmp_path / f"share-{share}"),
            teacher_dir=teacher.run_dir,
            distillation={"share": share, "temperature": 2.0},
        )
        run_training(student)
        assert (results(student) == results(teacher)) == same


def test_two_processes_learn_from_a_teacher_what_one_does(tmp_path: Path) -> None:
    teacher = small_job(tmp_path, run_dir=str(tmp_path / "teacher"), max_epochs=2)
    run_training(teacher)
    alone = changed(teacher, run_dir=str(tmp_path / "one"), teacher_dir=teacher.run_dir, seed=9)
    pair = changed(alone, how="torchrun", num_processes=2, run_dir=str(tmp_path / "two"))
    run_in_two_processes(pair)
    one, two = run_training(alone), read_run(Path(pair.run_dir))
    for first, second in zip(one.points, two.points, strict=True):
        assert second.validation_log_loss == pytest.approx(first.validation_log_loss, abs=1e-5)


def test_a_job_with_another_teacher_is_another_job(tmp_path: Path) -> None:
    plain = job(tmp_path, ("/a",), ("/b",))
    jobs = [replace(plain, teacher_dir=teacher_dir) for teacher_dir in (None, "/one", "/two")]
    assert len({each.fingerprint for each in jobs}) == 3
    assert TrainingJob.from_json(jobs[1].to_json()) == jobs[1]


def test_a_teacher_that_is_missing_is_refused_before_anything_old_is_removed(tmp_path: Path) -> None:
    plain = small_job(tmp_path)
    run_training(plain)
    with pytest.raises(ArtefactError, match=r"nowhere is not a finished run: no curves\.csv"):
        run_training(replace(plain, teacher_dir=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match=r"a network cannot learn from itself: .*Give each run its own folder"):
        run_training(replace(plain, teacher_dir=plain.run_dir))
    assert read_run(Path(plain.run_dir)).model == plain.model


def test_a_teacher_of_other_levels_is_refused(tmp_path: Path) -> None:
    teacher = small_job(tmp_path, model=ModelSpec("mlp", NUM_FEATURES, NUM_LEVELS + 1, hidden=(8,)))
    run_training(teacher)
    student = small_job(tmp_path, run_dir=str(tmp_path / "student"), teacher_dir=teacher.run_dir)
    told = r"the teacher reads other features or knows other levels: \(6, 4\) in .*/run, \(6, 3\) here\. Give one"
    with pytest.raises(ConfigError, match=told):
        run_training(student)
