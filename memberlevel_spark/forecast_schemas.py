"""The contracts of the tables that hold forecasts and what is said about them; ``schemas.py`` has those before them."""

from dataclasses import replace

from pyspark.sql import types as T

from memberlevel_spark.schemas import DATE, DOUBLE, INT, LONG, STRING, TableContract, optional, required

# Delta cannot hold the fields of an array's elements to be there; they always are.
NEXT_CATEGORIES = T.ArrayType(T.StructType([optional("category", STRING), optional("p", DOUBLE)]), containsNull=False)

MEMBER_SCORES = TableContract(
    name="member_scores",
    key=("member_id", "as_of_date", "model_version"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("as_of_date", DATE),
            required("model_version", STRING),
            required("level_now", INT),
            required("level_predicted", INT),
            required("p_level", T.ArrayType(DOUBLE, containsNull=False)),
            required("p_up", DOUBLE),
            required("p_down", DOUBLE),
            required("expected_level", DOUBLE),
            required("p_churn", DOUBLE),
            required("p_buy", DOUBLE),
            required("expected_orders", DOUBLE),
            required("expected_spend_cents", DOUBLE),
            required("spend_cents_low", DOUBLE),
            required("spend_cents_median", DOUBLE),
            required("spend_cents_high", DOUBLE),
            optional("next_categories", NEXT_CATEGORIES),
            optional("features_hash", LONG),
        ]
    ),
    prune_by=("as_of_date", "model_version"),
    later=("next_categories", "features_hash"),
)

# The latest date's rows of the champion.
CURRENT_SCORES = replace(MEMBER_SCORES, name="current_scores")

# The chances whose reasons are kept: of moving up, of moving down, and of an order.
EXPLAINED = ("up", "down", "buy")
REASONS = T.ArrayType(T.StructType([optional("topic", STRING), optional("effect", DOUBLE)]), containsNull=False)

MEMBER_REASONS = TableContract(
    name="member_reasons",
    key=("member_id", "as_of_date", "model_version"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("as_of_date", DATE),
            required("model_version", STRING),
            required("level_now", INT),
            *(
                field
                for outcome in EXPLAINED
                for field in (
                    required(f"p_{outcome}", DOUBLE),
                    required(f"typical_p_{outcome}", DOUBLE),
                    required(f"reasons_{outcome}", REASONS),
                    required(f"unexplained_p_{outcome}", DOUBLE),
                )
            ),
        ]
    ),
    prune_by=("as_of_date", "model_version"),
)

MEMBER_ADVICE = TableContract(
    name="member_advice",
    key=("member_id", "as_of_date", "model_version", "goal", "metric"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("as_of_date", DATE),
            required("model_version", STRING),
            required("level_now", INT),
            required("goal", STRING),
            required("target_level", INT),
            required("metric", STRING),
            optional("needed", LONG),
            required("p_now", DOUBLE),
            optional("extra", LONG),
            required("p_with_extra", DOUBLE),
            required("monotone", T.BooleanType()),
        ]
    ),
    prune_by=("as_of_date", "model_version"),
)

MEMBER_EMBEDDINGS = TableContract(
    name="member_embeddings",
    key=("member_id", "as_of_date", "encoder_version"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("as_of_date", DATE),
            required("encoder_version", STRING),
            required("num_events", INT),
            required("embedding", T.ArrayType(T.FloatType(), containsNull=False)),
        ]
    ),
    prune_by=("as_of_date", "encoder_version"),
)

# Null is a value that is undefined, such as a distance between rows of which there are none; its level is unknown.
MONITOR_METRICS = TableContract(
    name="monitor_metrics",
    key=("metric", "slice", "as_of_date", "model_version"),
    schema=T.StructType(
        [
            required("metric", STRING),
            required("slice", STRING),
            required("as_of_date", DATE),
            required("model_version", STRING),
            optional("value", DOUBLE),
            optional("warn_above", DOUBLE),
            optional("alert_above", DOUBLE),
            required("level", STRING),
        ]
    ),
    prune_by=("as_of_date",),
)

# The watched values that are above a threshold.
ALERTS = TableContract(
    name="alerts",
    key=("metric", "subject", "as_of_date", "model_version"),
    schema=T.StructType(
        [
            required("metric", STRING),
            required("subject", STRING),
            required("as_of_date", DATE),
            required("model_version", STRING),
            required("level", STRING),
            required("value", DOUBLE),
            required("threshold", DOUBLE),
        ]
    ),
    prune_by=("as_of_date",),
)

# Judged once the labels of a scored date are mature: one number per part of the members and metric, null where it is
# undefined. Spend is in whole units of the currency, as in metrics.json.
OUTCOMES = TableContract(
    name="outcomes",
    key=("as_of_date", "model_version", "dimension", "slice", "metric"),
    schema=T.StructType(
        [
            required("as_of_date", DATE),
            required("model_version", STRING),
            required("dimension", STRING),
            required("slice", STRING),
            required("metric", STRING),
            optional("value", DOUBLE),
            required("members", LONG),
        ]
    ),
    prune_by=("as_of_date", "model_version"),
)

MIGRATIONS = TableContract(
    name="migrations",
    key=("as_of_date", "model_version", "level_from", "level_to"),
    schema=T.StructType(
        [
            required("as_of_date", DATE),
            required("model_version", STRING),
            required("level_from", INT),
            required("level_to", INT),
            required("members_expected", DOUBLE),
            required("members_realised", LONG),
            required("spend_cents", LONG),
            required("at_risk_cents", LONG),
        ]
    ),
    prune_by=("as_of_date", "model_version"),
)
