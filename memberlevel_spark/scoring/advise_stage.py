"""The stage advise: with the champion, why members have the chances they have, and what would tip them."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.typical import TYPICAL, TypicalMembers
from memberlevel_spark.features.stage import features_of
from memberlevel_spark.forecast_schemas import MEMBER_ADVICE, MEMBER_REASONS
from memberlevel_spark.registry.bundle import Bundle
from memberlevel_spark.registry.champion import load_champion
from memberlevel_spark.run import RowCounts, Run, Shop, StageResult
from memberlevel_spark.scoring.advice import Adviser, build_advice
from memberlevel_spark.scoring.members import encode_members
from memberlevel_spark.scoring.predictor import PackedModel
from memberlevel_spark.scoring.reasons import Reasoner, build_reasons
from memberlevel_spark.scoring.topics import topics

_PARTS = 1_000_000


def run_advise(run: Run) -> StageResult:
    """Add the as-of dates' slices of the champion's reasons and advice; run twice, they stay one slice each."""
    bundle = load_champion(run)
    dates = run.as_of_dates or run.config.timeline.score
    encoder = Encoder.from_json(bundle.text("encoder.json"))
    encoded = encode_members(run, encoder, dates, kept=("level_now",))
    some = _share(encoded.rows, run.config.scoring.reasons_share)
    slices = {"as_of_date": dates, "model_version": [bundle.version]}
    reasons = build_reasons(some, reasoner_of(run, bundle, encoder), bundle.version)
    told = run.tables.replace_slice(MEMBER_REASONS, reasons, slices)
    advice = build_advice(some, adviser_of(run, encoder), PackedModel.of(bundle.files), bundle.version)
    advised = run.tables.replace_slice(MEMBER_ADVICE, advice, slices)
    counts = RowCounts(encoded.num_rows, told.rows, filtered=encoded.num_rows - told.rows)
    written = {MEMBER_REASONS.name: told.version, MEMBER_ADVICE.name: advised.version}
    note = f"champion {bundle.version}, {advised.rows:,} rows of advice, as of {', '.join(map(str, sorted(dates)))}"
    return StageResult(counts, encoded.read, written, note)


def reasoner_of(shop: Shop, bundle: Bundle, encoder: Encoder) -> Reasoner:
    """What explains a bundle's chances. Errors: ArtefactError for a bundle without typical members."""
    if TYPICAL not in bundle.files:
        raise ArtefactError(
            f"the model has no typical members to compare with: {bundle.version}. Run the stages train and register"
            " again."
        )
    return Reasoner(
        model=PackedModel.of(bundle.files),
        typical=TypicalMembers.from_json(bundle.text(TYPICAL)).array(),
        topics=topics(encoder, features_of(shop)),
        num_steps=shop.config.scoring.reasons_steps,
    )


def adviser_of(shop: Shop, encoder: Encoder) -> Adviser:
    """What advises by the shop's level rules."""
    levels = shop.config.levels
    return Adviser(encoder, shop.config.scoring.likely, levels.upgrade == "at_once", levels.reach == "all")


def _share(members: DataFrame, share: float) -> DataFrame:
    return members if share == 1 else members.where(F.pmod(F.xxhash64("member_id"), F.lit(_PARTS)) < share * _PARTS)
