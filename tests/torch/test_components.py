"""Networks that read principal components: they know these alone, do not change them, and say when there are none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from memberlevel_spark.config import load_config
from memberlevel_spark.errors import ConfigError
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.models.networks import build_network
from memberlevel_spark.models.spec import ModelSpec
from memberlevel_spark.scoring.predictor import PackedModel, predict
from memberlevel_spark.training.artefacts import load_network
from memberlevel_spark.training.launch import run_training
from memberlevel_spark.training.stage import training_job
from tests.torch.made_examples import NUM_FEATURES, NUM_LEVELS, examples_table, small_job

pytestmark = pytest.mark.torch

JOURNEY = Path(__file__).parents[2] / "conf" / "complete_journey.yaml"
# The sum that gives the level, and one element that does not; the last number of each is its constant.
COMPONENTS = ((0.7, 0.7, 0.0, 0.0, 0.0, 0.0, 0.1), (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, -0.2))


@pytest.mark.parametrize("name", ["mlp", "logistic"])
def test_a_network_learns_from_components_and_leaves_them_as_they_are(tmp_path: Path, name: str) -> None:
    spec = ModelSpec(name, NUM_FEATURES, NUM_LEVELS, hidden=(16,), dropout=0.1, periodic=2, components=2)
    job = replace(small_job(tmp_path, model=spec, max_epochs=15, learning_rate=0.05), components=COMPONENTS)
    run = run_training(job)
    assert run.best.validation_accuracy > 0.9
    network = load_network(Path(job.run_dir))
    np.testing.assert_allclose(network.body.components.weight_CP, np.array(COMPONENTS)[:, :-1], rtol=1e-6)
    assert network.body.components.constant_C.tolist() == pytest.approx([0.1, -0.2])


def test_what_the_components_do_not_tell_changes_no_forecast() -> None:
    network = build_network(ModelSpec("mlp", NUM_FEATURES, NUM_LEVELS, hidden=(8,), periodic=2, components=2))
    network.body.components.take(COMPONENTS)
    model = PackedModel.holding(network, network._spec)
    rows = np.array(examples_table(0, 20).column("features").to_pylist(), dtype=np.float32)
    unseen, seen = rows.copy(), rows.copy()
    unseen[:, 2:5] += 1
    unseen[:, 0] += 1
    unseen[:, 1] -= 1
    seen[:, 5] += 1
    assert predict(model, unseen) == pytest.approx(predict(model, rows), rel=1e-4)
    assert np.abs(predict(model, seen) - predict(model, rows)).max() > 1e-3


def test_a_job_takes_as_many_as_are_asked_for_and_survives_json(tmp_path: Path) -> None:
    inputs, needs = (Input("x"), Input("weekly_spend_cents", 0)), tuple(Need("spend_cents", k) for k in (1, 2, 3))
    components = tuple((0.5,) * 6 + (float(place),) for place in range(3))
    encoder = Encoder(inputs, 4, (0.0, 0.0), (1.0, 1.0), needs, components=components)
    for asked, told in ((0, 0), (2, 2), (9, 3)):
        config = load_config(JOURNEY, [f"model.components={asked}"])
        job = training_job(config, tmp_path, encoder, train_files=(), validation_files=())
        assert (job.model.components, job.components) == (told, components[:told])
        assert type(job).from_json(job.to_json()) == job
    assert ModelSpec.from_dict(json.loads(json.dumps(job.model.to_dict()))) == job.model
    with pytest.raises(ConfigError, match=r"made without principal components, and model\.components is 9\. Run"):
        training_job(config, tmp_path, replace(encoder, components=()), train_files=(), validation_files=())


def test_components_of_features_that_are_not_read_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"components are of features, and \('weeks',\) are read: .*Read features"):
        ModelSpec("cnn", 12, 4, weekly=(1, 4), reads=("weeks",), components=2)
    with pytest.raises(ConfigError, match="impossible network"):
        ModelSpec("mlp", 12, 4, components=-1)
