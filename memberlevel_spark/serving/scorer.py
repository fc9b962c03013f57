"""The champion in memory: a member's rows in, their forecast, reasons and advice out.

Everything is made by what the stages features, score and advise make it with: the window kernel, the encoder, the
predictor, the reasoner and the adviser. So a forecast is the row of ``member_scores``, to the bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memberlevel_spark.errors import ConfigError, DataQualityError
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.next_category import named
from memberlevel_spark.examples.typical import TYPICAL
from memberlevel_spark.features.breakdowns import published_features
from memberlevel_spark.features.columns import window_columns
from memberlevel_spark.features.feature import digests
from memberlevel_spark.features.point_in_time import window_plan
from memberlevel_spark.features.vocabulary_stage import breakdowns_of, profile_of
from memberlevel_spark.features.windows import WindowPlan, compute_batch
from memberlevel_spark.registry.bundle import Bundle
from memberlevel_spark.run import Shop
from memberlevel_spark.scoring.advice import Adviser, advice_batches
from memberlevel_spark.scoring.advise_stage import adviser_of, reasoner_of
from memberlevel_spark.scoring.ledger import score_values
from memberlevel_spark.scoring.predictor import PackedModel, predict
from memberlevel_spark.scoring.reasons import Reasoner, told_reasons
from memberlevel_spark.serving.history import history_batch
from memberlevel_spark.serving.member_rows import MemberRows
from memberlevel_spark.timeline import day_number

Predict = Callable[[PackedModel, NDArray[np.float32]], NDArray[np.float64]]
Answer = dict[str, Any]


@dataclass(frozen=True)
class EncodedMember:
    """One member on one as-of date as the model reads them: the level held then, and one row of features [1, E]."""

    as_of: date
    level_now: int
    features_1E: NDArray[np.float32]


@dataclass(frozen=True)
class Scorer:
    """One bundle, ready to answer. ``plan`` is what the kernel computes, its dates apart."""

    shop: Shop
    bundle: Bundle
    encoder: Encoder
    model: PackedModel
    plan: WindowPlan

    @classmethod
    def of(cls, shop: Shop, bundle: Bundle) -> "Scorer":
        """Errors: ArtefactError when the shop's features are not those that the model was trained on, ConfigError for a
        model that reads single events."""
        encoder = Encoder.from_json(bundle.text("encoder.json"))
        if encoder.events:
            raise ConfigError(
                f"the champion reads single events, which are only answered in bulk: {bundle.version}. Run the stage"
                " score, or make a model champion that reads features and weeks."
            )
        profile, breakdowns = profile_of(shop), breakdowns_of(shop)
        plan = window_plan(shop.config, (), profile=profile, breakdowns=breakdowns)
        encoder.require_meaning(digests((*published_features(plan.declared, breakdowns), *profile)))
        return cls(shop, bundle, encoder, PackedModel.of(bundle.files), plan)

    def encode(self, rows: MemberRows, as_of: date) -> EncodedMember:
        """Features of a member as of a date. Errors: DataQualityError for who was not known, or held no level, then."""
        batch = history_batch(rows, self.plan)
        windows = compute_batch(batch, replace(self.plan, as_of_days=(day_number(as_of),)))
        if not windows.num_rows:
            raise DataQualityError(
                f"the member was not known, or held no level, on the as-of date: {as_of}. Ask for a later one;"
                " known_from and the first valid_from of the levels say since when."
            )
        columns = window_columns(windows, self.plan)
        return EncodedMember(as_of, int(columns["level_now"][0]), self.encoder.encode_columns(columns))

    def forecast(self, member: EncodedMember, predict: Predict = predict) -> Answer:
        """The columns of ``member_scores`` but for the member's id; ``predict`` may share a pass with other members."""
        (forecast,) = predict(self.model, member.features_1E).tolist()
        key = {"as_of_date": member.as_of, "model_version": self.bundle.version}
        categories = named(self.encoder.next_categories) if self.model.spec.next_categories else ()
        return {**key, **score_values(forecast, member.level_now, categories)}

    def reasons(self, member: EncodedMember) -> Answer:
        """The columns of ``member_reasons`` but for the key. Errors: ArtefactError for a bundle that cannot explain."""
        (explained,) = self._reasoner.explain(member.features_1E, np.array([member.level_now])).tolist()
        return {"level_now": member.level_now, **told_reasons(explained, self._reasoner.words)}

    def advice(self, member: EncodedMember) -> list[Mapping[str, Any]]:
        """The rows of ``member_advice`` but for the key."""
        names = ("member_id", "as_of_date", "level_now", "features")
        features = pa.array(member.features_1E.tolist(), pa.list_(pa.float32()))
        values = [pa.array([""]), pa.array([member.as_of]), pa.array([member.level_now], pa.int32()), features]
        batches = advice_batches(pa.RecordBatch.from_arrays(values, names), self._adviser, self.model)
        rows = [row for batch in batches for row in batch.to_pylist()]
        return [{name: value for name, value in row.items() if name not in names[:2]} for row in rows]

    def warm_up(self) -> None:
        """Answer once for nobody: what loads its packages at the first question has then loaded them."""
        nobody = EncodedMember(date.min, 0, np.zeros((1, self.encoder.num_features), dtype=np.float32))
        self.forecast(nobody)
        if TYPICAL in self.bundle.files:
            self.reasons(nobody)

    @cached_property
    def _reasoner(self) -> Reasoner:
        return reasoner_of(self.shop, self.bundle, self.encoder)

    @cached_property
    def _adviser(self) -> Adviser:
        return adviser_of(self.shop, self.encoder)
