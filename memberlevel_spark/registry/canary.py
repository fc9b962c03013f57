"""Canaries: made-up members whose forecasts are kept in the bundle, so that a model that answers otherwise is seen.

In: a bundle's files. Out: ``canary.json``, encoded features and what the model says of them; what is wrong with that.

They are the typical member of each level, one of whom nothing is known, and one whom every feature calls extreme.

Shape legend: C canaries, F features, K levels, P elements before the events.
"""

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.encoder import CLIP
from memberlevel_spark.examples.typical import TYPICAL, TypicalMembers
from memberlevel_spark.scoring.predictor import NUMBERS, PackedModel, predict

CANARY = "canary.json"
# Libraries and processors round single precision differently; another model is off by far more.
RELATIVE, ABSOLUTE = 1e-4, 1e-6


def canary_file(files: Mapping[str, bytes]) -> bytes:
    """The canaries of a model and their forecasts, as JSON."""
    model = PackedModel.of(files)
    features_CF = _canaries(TypicalMembers.from_json(files[TYPICAL].decode("utf-8")), model.spec.num_features)
    forecast_CP = predict(model, features_CF)
    kept = {"features": features_CF.tolist(), "num_levels": model.spec.num_levels, "forecasts": forecast_CP.tolist()}
    return json.dumps(kept).encode()


def _canaries(typical: TypicalMembers, num_features: int) -> NDArray[np.float32]:
    means_KP = typical.array()
    extremes = np.array([0.0, CLIP, -CLIP], dtype=np.float32)
    features_CF = np.zeros((len(means_KP) + len(extremes), num_features), dtype=np.float32)
    features_CF[: len(means_KP), : means_KP.shape[1]] = means_KP
    # Events are whole numbers of a vocabulary: nobody of these has any. A negative need is none.
    features_CF[len(means_KP) :, : means_KP.shape[1]] = extremes[:, None]
    return features_CF


def impossible_forecasts(canary: bytes) -> list[str]:
    """What is impossible in the forecasts of the canaries, in words; nothing where all is well."""
    kept = json.loads(canary)
    forecast_CP, num_levels = np.array(kept["forecasts"]), kept["num_levels"]
    if not np.isfinite(forecast_CP).all():
        return [f"{(~np.isfinite(forecast_CP)).sum()} numbers are not finite"]
    num_known = num_levels + len(NUMBERS)
    numbers = dict(zip(NUMBERS, forecast_CP[:, num_levels:num_known].T, strict=True))
    p_CK = forecast_CP[:, :num_levels]
    amounts_CX = forecast_CP[:, num_levels + 1 : num_known]
    wrong = {
        "probabilities of levels do not sum to 1": np.abs(p_CK.sum(axis=1) - 1) > ABSOLUTE,
        "probabilities lie outside 0 to 1": ((p_CK < 0) | (p_CK > 1)).any(axis=1)
        | (numbers["p_buy"] < 0)
        | (numbers["p_buy"] > 1),
        "orders or spend are negative": (amounts_CX < 0).any(axis=1),
        "quantiles of spend are not in order": (numbers["spend_cents_low"] > numbers["spend_cents_median"])
        | (numbers["spend_cents_median"] > numbers["spend_cents_high"]),
    }
    return [f"{text} of {int(rows_C.sum())} canaries" for text, rows_C in wrong.items() if rows_C.any()]


def check_canaries(version: str, files: Mapping[str, bytes]) -> None:
    """Score the canaries of a bundle anew; one from before there were canaries has none to check.

    Errors: ArtefactError when the model says something else of them than when it was registered.
    """
    if CANARY not in files:
        return
    kept = json.loads(files[CANARY])
    found_CP = predict(PackedModel.of(files), np.array(kept["features"], dtype=np.float32))
    expected_CP = np.array(kept["forecasts"])
    away_CP = np.abs(found_CP - expected_CP) - RELATIVE * np.abs(expected_CP)
    if not (away_CP <= ABSOLUTE).all():
        raise ArtefactError(
            f"the model does not say here what it said when it was registered: {version}, forecasts of canaries are off"
            f" by up to {np.abs(found_CP - expected_CP).max():.3g}. Score with the library versions it was registered"
            " with, or train and register it here."
        )
