"""What the present champion says of the test date, so that a new model is compared with what it would replace.

In: the champion's bundle, the members of the test date and their features. Out: its forecast, or why there is none.

Shape legend: as in ``forecasts``.
"""

from dataclasses import dataclass, replace

from pyspark.sql import DataFrame

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.evaluation.forecasts import Forecast
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.registry.bundle import load_bundle, read_alias
from memberlevel_spark.registry.champion import CHAMPION, present_registry, require_programme
from memberlevel_spark.run import Run
from memberlevel_spark.scoring.apply import apply_model
from memberlevel_spark.scoring.members import encode_members
from memberlevel_spark.scoring.predictor import PackedModel


@dataclass(frozen=True)
class Incumbent:
    """The champion on the test date: without a forecast, ``why_not`` says what kept it from making one."""

    model_version: str
    forecast: Forecast | None = None
    why_not: str | None = None

    @property
    def said(self) -> dict[str, Forecast]:
        """Its forecast by its name among the forecasters, where there is one."""
        return {} if self.forecast is None else {CHAMPION: self.forecast}

    def plain(self) -> dict[str, str | None]:
        """As ``evaluation.json`` keeps it."""
        return {"model_version": self.model_version, "why_not": self.why_not}


def incumbent(run: Run, test: DataFrame, own_version: str) -> Incumbent | None:
    """The champion's forecast of the rows of ``test``, in the order of their row_key.

    None where nobody is champion, or the model of ``own_version`` is: it would replace itself.

    It reads the features of the present with its own encoder. One that cannot, since the features, the level programme
    or the members' table are others now, is compared with nothing.
    """
    registry = present_registry(run)
    version = read_alias(registry, CHAMPION)
    if version in (None, own_version):
        return None
    try:
        bundle = load_bundle(registry, version)
        require_programme(bundle, run.config.levels)
        encoder = Encoder.from_json(bundle.text("encoder.json"))
        encoded = encode_members(run, encoder, [run.config.timeline.test], kept=("level_now",)).rows
    except ArtefactError as problem:
        return Incumbent(version, why_not=str(problem))
    asked = encoded.join(test.select("member_id", "row_key"), "member_id")
    applied = apply_model(asked, PackedModel.of(bundle.files), method=run.config.scoring.method, extra=("row_key",))
    rows = applied.drop("as_of_date").orderBy("row_key").toPandas()
    # Its categories are those of its own training rows, not the model's.
    return Incumbent(version, replace(Forecast.of_rows_applied(rows), p_category_NC=None))
