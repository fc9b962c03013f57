"""The contracts of the truth: what really is behind the synthetic shop's files."""

from pyspark.sql import types as T

from memberlevel_spark.schemas import DATE, DOUBLE, INT, LONG, STRING, TableContract, optional, required

SHARES = T.ArrayType(DOUBLE, containsNull=False)

TRUTH_MEMBERS = TableContract(
    name="truth_members",
    key=("member_id",),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("joined_date", DATE),
            required("orders_per_day", DOUBLE),  # at factor 1, without points pressure; 0: never buys
            required("dropout_share", DOUBLE),  # probability to leave after an order
            optional("left_date", DATE),  # null while a member
            required("median_order_cents", DOUBLE),
            required("goal_strength", DOUBLE),  # 0 without a goal
            required("tastes", SHARES),  # by category, in the order of the catalogue
            required("num_devices", INT),
            required("currency", STRING),
            required("treated", T.ArrayType(STRING, containsNull=False)),  # names of campaigns
            required("num_orders", LONG),  # through the end of the data
        ]
    ),
)

TRUTH_LEVELS = TableContract(
    name="truth_levels",
    key=("member_id", "as_of_date"),
    schema=T.StructType(
        [
            required("member_id", STRING),
            required("as_of_date", DATE),
            required("level_now", INT),
            required("p_level", SHARES),
            required("p_up", DOUBLE),
            required("p_down", DOUBLE),
            required("expected_orders", DOUBLE),  # in the label window
            required("expected_spend_cents", DOUBLE),  # in the label window, net of refunds
        ]
    ),
    prune_by=("as_of_date",),
)

TRUTH_CAMPAIGNS = TableContract(
    name="truth_campaigns",
    key=("campaign",),
    schema=T.StructType(
        [
            required("campaign", STRING),
            required("first_day", DATE),
            required("last_day", DATE),
            required("uplift", DOUBLE),  # factor on the purchase rate of the treated
            required("treated_share", DOUBLE),
        ]
    ),
)

TRUTH_DEFECTS = TableContract(
    name="truth_defects",
    key=("defect",),
    schema=T.StructType(
        [
            required("defect", STRING),
            required("source", STRING),
            required("num_rows", LONG),
            required("outcome", STRING),  # quarantined, duplicate, set_aside (either of the two), accepted, none, stops
            required("expected", STRING),
        ]
    ),
)

TRUTHS = (TRUTH_MEMBERS, TRUTH_LEVELS, TRUTH_CAMPAIGNS, TRUTH_DEFECTS)
