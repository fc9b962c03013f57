"""The jobs score_one and serve, which start no Spark session."""

import importlib

from memberlevel_spark.errors import ConfigError
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.report.member_page import Programme, forecast_page
from memberlevel_spark.run import RowCounts, StageResult
from memberlevel_spark.serving.asked import Asked, id_in_tables
from memberlevel_spark.serving.member_tables import latest_scored, scan
from memberlevel_spark.serving.scorer import Scorer
from memberlevel_spark.serving.service import Service, require_covered, require_known

EXTRA = ("fastapi", "uvicorn", "prometheus_client")


def run_score_one(asked: Asked) -> StageResult:
    """Tell what the champion says of ``asked.member``, as of the given date or the last scored one, by their rows now.

    Errors: UnknownMemberError for nobody's id; DataQualityError for a date on which they were not known, or after the
    data; ArtefactError when there is no champion, or a table is missing.
    """
    assert asked.member is not None, "the command line asks for one"
    scorer = Scorer.of(asked, load_champion(asked))
    as_of = asked.as_of or latest_scored(asked)
    require_covered(asked, as_of)
    member_id = id_in_tables(asked.config.pseudonyms, asked.member)
    rows = require_known(scan(asked, member_id))
    score = {"member_id": member_id, **scorer.forecast(scorer.encode(rows, as_of))}
    return StageResult(RowCounts(0, 0), page=forecast_page(score, Programme.of(asked.config, as_of)))


def run_serve(asked: Asked) -> StageResult:
    """Answer until interrupted. Errors: ConfigError when the packages of the extra ``serving`` are not installed."""
    _require_extra()
    from memberlevel_spark.serving.server import serve

    serve(Service(asked), asked)
    return StageResult(RowCounts(0, 0), note="stopped")


def _require_extra() -> None:
    for name in EXTRA:
        try:
            importlib.import_module(name)
        except ImportError:
            raise ConfigError(
                f"serving needs what is not installed: {name}. Run pip install memberlevel_spark[serving]."
            ) from None
