"""The ``world:`` section: knobs of the synthetic shop, each with its unit. ``synthetic/README.md`` states the laws.

Every knob has a default, so ``world: {first_day: 2024-01-01}`` is a whole, clean world.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from memberlevel_spark.config.base import Model

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Rows = Annotated[int, Field(ge=0, le=1000)]
DAYS_OF_WEEK = 7


class PurchaseKnobs(Model):
    """How often members order. A member orders at most once a day, with probability 1 − exp(−rate of that day)."""

    mean_orders_per_day: Positive = 0.042  # of members who ever buy, at factor 1
    shape: Positive = 1.5  # of the gamma over members; small: a few buy a lot
    never_buys_share: Share = 0.08  # of members, whose rate is 0
    founding_share: Share = 0.5  # of members who joined on the first day
    joining_days: int = Field(default=90, ge=1)  # the others join on one of the first so many days, evenly


class DropoutKnobs(Model):
    """Leaving for good: after each order with a member's own probability, beta-distributed over members."""

    alpha: Positive = 0.5
    beta: Positive = 16.0  # mean alpha / (alpha + beta)


class BasketKnobs(Model):
    """What an order is worth: lognormal within a member, around a median that is lognormal over members."""

    median_cents: int = Field(default=4200, ge=100)  # minor units of the shop's currency
    sd_within: Positive = 0.55  # of the log, from order to order
    sd_between: Positive = 0.45  # of the log of the median, from member to member
    mean_lines: float = Field(default=2.6, ge=1)  # order lines per order
    max_lines: int = Field(default=12, ge=1, le=100)


class PressureKnobs(Model):
    """Points pressure: a member with a level goal orders more often when the next threshold is near."""

    goal_share: Share = 0.5  # of members, who have a goal
    strength: float = Field(default=1.5, ge=0, le=20)  # the rate is (1 + strength) times as high right below it
    reach_share: float = Field(default=0.35, gt=0, le=1)  # of the way between two thresholds; farther off, no effect


class SeasonKnobs(Model):
    """Factors on the purchase rate and on browsing by week of the year and by weekday."""

    amplitude: float = Field(default=0.25, ge=0, lt=1)  # ± share of the rate over the year
    peak_week: int = Field(default=49, ge=1, le=53)  # ISO week with the highest rate
    weekday_factors: tuple[Positive, ...] = (0.9, 0.9, 0.95, 1.0, 1.15, 1.25, 0.85)  # Monday to Sunday

    @model_validator(mode="after")
    def _one_factor_a_weekday(self) -> "SeasonKnobs":
        if len(self.weekday_factors) != DAYS_OF_WEEK:
            raise ValueError("weekday_factors with seven numbers, Monday to Sunday")
        return self


class CampaignKnobs(Model):
    """One campaign: a random share of the members gets a mail and orders more often while it lasts."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    first_day: date
    num_days: int = Field(ge=1)
    uplift: Positive = 1.5  # factor on the purchase rate of the treated; 1 has no effect
    treated_share: Share = 0.5  # of members
    opened_share: Share = 0.4  # of treated members, who open the mail


class DriftKnobs(Model):
    """From a day on the world is another one."""

    from_day: date
    rate_factor: Positive = 1.0  # on every purchase rate
    basket_factor: Positive = 1.0  # on every basket value


class RefundKnobs(Model):
    """Money back: a return some days after the order, or the cancellation of a whole order within the hour."""

    refund_share: Share = 0.06  # of orders
    cancelled_share: Share = 0.25  # of those, cancelled
    max_days: int = Field(default=21, ge=1, le=180)  # days from an order to its return, evenly 1 to this
    whole_share: Share = 0.4  # of returns, that return everything; the others a share between 0.2 and 0.9


class CurrencyKnobs(Model):
    """A second currency and the share of members who pay in it."""

    code: str = Field(pattern=r"^[A-Z]{3}$")
    share: Share
    rate: Positive  # shop's currency per one unit, on average; it wanders by a few percent
    minor_unit_digits: int = Field(ge=0, le=4)


class CatalogueKnobs(Model):
    """Products, their categories, and how strongly tastes differ."""

    num_products: int = Field(default=600, ge=20, le=1_000_000)
    num_categories: int = Field(default=10, ge=2, le=20)
    taste_concentration: Positive = 0.5  # of the Dirichlet over categories; small: members keep to a few


class ClickKnobs(Model):
    """Sessions, clicks and app activity."""

    browsing_per_day: float = Field(default=0.035, ge=0, le=1)  # sessions without an order, mean of a living member
    browsing_sd: float = Field(default=0.6, ge=0)  # of its log, from member to member
    clicks_per_session: float = Field(default=3.5, ge=1, le=50)  # mean of a browsing session; one that orders has more
    left_share: Share = 0.15  # of browsing and check-ins, that goes on after a member has left
    check_ins_per_day: float = Field(default=0.02, ge=0, le=1)  # of the app, mean of a living member
    max_devices: int = Field(default=3, ge=1, le=9)  # a member has 1 to so many, few have more than one
    guest_days: int = Field(default=10, ge=0)  # days a device is used before its owner logs in; sooner when ordering
    signed_in_share: Share = 0.75  # of sessions after a device's first login, that are logged in
    review_share: Share = 0.05  # of orders, reviewed 3 to 12 days later


class TruthKnobs(Model):
    """How the Bayes-optimal probabilities are found: each member's future is lived many times."""

    num_futures: int = Field(default=200, ge=10, le=10_000)  # per member and as-of date
    train_dates: bool = False  # also for the training dates, not only validation, test and score


class DefectKnobs(Model):
    """How many rows, or files where it says so, carry each defect; all 0: a clean world."""

    wrong_type: Rows = 0
    too_few_fields: Rows = 0
    too_many_fields: Rows = 0
    quoted_newline: Rows = 0
    same_id_other_payload: Rows = 0
    ts_future: Rows = 0
    ts_1970: Rows = 0
    ts_year_1: Rows = 0
    ts_year_9999: Rows = 0
    nan_amount: Rows = 0
    infinite_amount: Rows = 0
    overflow_amount: Rows = 0
    negative_amount: Rows = 0
    unknown_currency: Rows = 0
    null_member: Rows = 0
    member_nfd: Rows = 0
    member_full_width: Rows = 0
    member_with_nul: Rows = 0
    member_trailing_space: Rows = 0
    missing_column: Rows = 0  # rows of one file without a column
    extra_column: Rows = 0  # rows of one file with a further column
    renamed_column: Rows = 0  # rows of one file with a renamed column
    refund_before_purchase: Rows = 0
    refund_beyond_purchase: Rows = 0
    truncated_json: Rows = 0
    no_id: Rows = 0
    late_3_days: Rows = 0
    dst_gap: Rows = 0
    dst_fold: Rows = 0
    unknown_event_type: Rows = 0
    unknown_product: Rows = 0  # a product of no known category
    missing_zone: Rows = 0
    huge_string: int = Field(default=0, ge=0, le=20)  # rows with a text of 10 MB
    giant_member: int = Field(default=0, ge=0, le=1_000_000_000)  # clicks of one further member
    empty_day: int = Field(default=0, ge=0, le=31)  # click files of 0 bytes
    replayed_file: int = Field(default=0, ge=0, le=31)  # days whose order lines come a second time
    shuffled_file: int = Field(default=0, ge=0, le=31)  # click files whose lines are in random order
    truncated_file: int = Field(default=0, ge=0, le=1)  # a gzip file cut off in the middle; stops a run by design


class WorldConfig(Model):
    """A synthetic shop with known truth."""

    num_members: int = Field(default=20_000, ge=1, le=100_000_000)
    first_day: date  # of the shop; it is open through timeline.data_through
    files: Literal["month", "day"] = "month"  # one file of each source per month or per day of delivery
    parts: int = Field(default=1, ge=1, le=10_000)  # such files per period; more for very many members
    tasks: int | None = Field(default=None, ge=1)  # Spark tasks that make members; null: one per 2,500, at least 2
    members_at_once: int = Field(default=500, ge=1, le=100_000)  # members a task holds in memory
    purchases: PurchaseKnobs = PurchaseKnobs()
    dropout: DropoutKnobs = DropoutKnobs()
    baskets: BasketKnobs = BasketKnobs()
    pressure: PressureKnobs = PressureKnobs()
    season: SeasonKnobs = SeasonKnobs()
    campaigns: tuple[CampaignKnobs, ...] = ()
    drift: DriftKnobs | None = None
    refunds: RefundKnobs = RefundKnobs()
    currencies: tuple[CurrencyKnobs, ...] = ()
    catalogue: CatalogueKnobs = CatalogueKnobs()
    clicks: ClickKnobs = ClickKnobs()
    truth: TruthKnobs = TruthKnobs()
    defects: DefectKnobs = DefectKnobs()

    @model_validator(mode="after")
    def _fits_together(self) -> "WorldConfig":
        if sum(currency.share for currency in self.currencies) > 1:
            raise ValueError("shares of currencies that sum to at most 1")
        names = [campaign.name for campaign in self.campaigns]
        if len(names) != len(set(names)):
            raise ValueError("campaigns with different names")
        return self
