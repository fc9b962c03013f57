"""What a network is built from: its kind, its sizes, and where things lie in the array of features.

The array is ``encoded features | needs | events``. Encoded features end with the weekly tiles (measure by measure, the
newest week first) and the level held now, one-hot. Needs are what each metric lacks to each level above the lowest on
the label date, in the metric's own unit: nothing (0) for levels that are reached already. Events are the last ones of a
member, number by number, the newest first; a model of a shop without them has none.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from memberlevel_spark.errors import ConfigError, first_five

# Kinds that are linear in the features, and the only head each is known with.
LINEAR = {"linear": "normal", "logistic": "softmax", "svm": "hinge"}
FEATURES, WEEKS, EVENTS = "features", "weeks", "events"
# What each kind reads when nothing else is said; ``fusion`` reads weeks by convolutions, events by a transformer.
READS = {
    "mlp": (FEATURES,),
    **dict.fromkeys(("cnn", "lstm", "gru", "transformer"), (FEATURES, WEEKS)),
    "fusion": (FEATURES, WEEKS, EVENTS),
}
BODIES = tuple(READS)
HEADS = ("rules", "gate", "softmax", "ordinal")
SPEND_HEADS = ("mixture", "lognormal")
# Keys that a file may lack, and what they are then.
LATER = {
    "int8": False,
    "periodic": 0,
    "next_categories": 0,
    "spend_head": "mixture",
    "components": 0,
    "week_channels": 48,
}
# Of each principal component its weight of every encoded feature and, last, its constant.
Components = tuple[tuple[float, ...], ...]
# Of every event: type, category, channel, product bucket, hour, weekday; amount, gap, age.
NUM_EVENT_INDICES, NUM_EVENT_NUMBERS = 6, 3


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a network, as kept beside its weights.

    Args:
        name: ``linear``, ``logistic`` or ``svm``; or ``mlp``, or one that reads sequences: ``cnn``, ``lstm``, ``gru``,
            ``transformer`` or ``fusion``.
        num_features: length of a feature array, needs and events included.
        num_levels: number of levels, at least 2.
        hidden: width of each hidden layer; the linear kinds have none.
        dropout: share of hidden units dropped in training.
        periodic: frequencies by which every feature is also read (``numeric_embeddings.py``); 0: as it is only.
        level_head: ``rules``, ``gate``, ``softmax`` or ``ordinal``; the linear kinds bring their own.
        spend_head: what the spend given an order is: ``mixture`` of log-logistics, or ``lognormal``.
        metrics: the metrics whose needs end the array; with none there is no head by rules.
        every_metric: whether a level asks for all metrics, or for any one of them.
        weekly: number of measures and of weeks of the weekly tiles.
        events: number of events in the array, then how many values each of their indices takes; empty without events.
        reads: some of ``features``, ``weeks`` and ``events``; empty reads what ``READS`` says of the name.
        causal: whether what is made of an event depends on earlier ones only, as guessing the next one asks for.
        int8: whether the linear layers of the body hold 8-bit weights; such a network scores, it does not learn.
        next_categories: categories with a name that the first order to come is told among; one more stands for all
            others. 0: it is not told.
        week_channels: numbers of the state of each week, where weekly tiles are read as a sequence; a multiple of 4.
        components: principal components that stand for the encoded features; 0: the features themselves are read.

    Raises:
        ConfigError: an unknown name or an impossible number.
    """

    name: str
    num_features: int
    num_levels: int
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.2
    level_head: str = "softmax"
    metrics: tuple[str, ...] = ()
    every_metric: bool = True
    weekly: tuple[int, int] = (0, 0)
    events: tuple[int, ...] = ()
    reads: tuple[str, ...] = ()
    causal: bool = False
    int8: bool = False
    periodic: int = 0
    next_categories: int = 0
    spend_head: str = "mixture"
    components: int = 0
    week_channels: int = 48

    def __post_init__(self) -> None:
        _require_known("model", self.name, (*LINEAR, *BODIES))
        _require_known("level head", self.level_head, HEADS)
        _require_known("spend head", self.spend_head, SPEND_HEADS)
        sizes_fit = self.num_encoded >= 1 and self.num_levels >= 2 and all(width >= 1 for width in self.hidden)
        sizes_fit &= self.week_channels >= 4 and self.week_channels % 4 == 0
        if not (sizes_fit and 0 <= self.dropout < 1 and min(self.periodic, self.next_categories, self.components) >= 0):
            raise ConfigError(
                f"impossible network: {self}. "
                "Give at least 1 feature, 2 levels, widths of at least 1, week_channels in fours, dropout in [0, 1)."
            )
        if self.by_rules and not self.metrics:
            raise ConfigError(
                f"the level head {self.level_head} needs metrics: {self}. Give the metrics of the levels."
            )
        for part in self.inputs:
            _require_known("input of a model", part, (FEATURES, WEEKS, EVENTS))
        if WEEKS in self.inputs and not 0 < self.num_weekly <= self.num_encoded - self.num_levels:
            raise ConfigError(f"{self.name} reads weekly tiles, and there are none: {self}. Use mlp, or give them.")
        if EVENTS in self.inputs and len(self.events) != 1 + NUM_EVENT_INDICES:
            raise ConfigError(f"{self.name} reads events, and there are none: {self}. Set features.sequence_events.")
        if self.components and FEATURES not in self.inputs:
            raise ConfigError(f"components are of features, and {self.inputs} are read: {self}. Read features too.")

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the network reads."""
        return inputs_of(self.name, self.reads)

    @property
    def week_encoder(self) -> str:
        """What encodes the weekly tiles."""
        return "cnn" if self.name in ("mlp", "fusion") else self.name

    @property
    def event_encoder(self) -> str:
        """What encodes the events."""
        return "transformer" if self.name in ("mlp", "fusion") else self.name

    @property
    def by_rules(self) -> bool:
        """Whether the levels follow, wholly or in part, from what members will earn."""
        return self.name not in LINEAR and self.level_head in ("rules", "gate")

    @property
    def num_needs(self) -> int:
        """Numbers after the encoded features that are needs."""
        return len(self.metrics) * (self.num_levels - 1)

    @property
    def num_encoded(self) -> int:
        """Numbers before the needs."""
        return self.num_features - self.num_needs - self.num_event_values

    @property
    def num_event_values(self) -> int:
        """Numbers at the end of the array that are of events."""
        return self.events[0] * (NUM_EVENT_INDICES + NUM_EVENT_NUMBERS) if self.events else 0

    @property
    def num_p_category(self) -> int:
        """Probabilities of the next category: one for each with a name, one for all others; 0 where it is not told."""
        return self.next_categories + 1 if self.next_categories else 0

    @property
    def num_weekly(self) -> int:
        """Numbers of the weekly tiles."""
        return self.weekly[0] * self.weekly[1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; what came later only where it is used: other files stay the same."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in plain.items() if name not in LATER or value != LATER[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelSpec":
        """Build a spec from ``to_dict``'s result.

        Raises:
            ConfigError: missing or unknown keys.
        """
        names = {field.name for field in fields(cls)}
        if {*values, *LATER} != names:
            raise ConfigError(
                f"model spec has other keys than expected: {first_five({*values, *LATER} ^ names)}. "
                f"Give exactly {', '.join(sorted(names))}."
            )
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)


def inputs_of(name: str, reads: tuple[str, ...]) -> tuple[str, ...]:
    """What a network of a name reads, by itself or as said."""
    return reads or READS.get(name, (FEATURES,))


def _require_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        nearest = get_close_matches(name, known, n=1, cutoff=0.0)
        raise ConfigError(f"unknown {what}: {name!r}. Use one of {', '.join(known)}; nearest: {nearest[0]}.")
