"""The networks: encoded features in, one score per level out; the softmax of the scores is P(level = k).

In: features_BF float32, encoded. Out: scores_BK float32. For ``linear`` the scores are log-probabilities, whose softmax
is the probabilities again, so every caller treats the three alike.

Shape legend: B rows of a batch, F features, H hidden units, K levels (0 is the lowest).
"""

from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from memberlevel_spark.errors import ConfigError, first_five
from memberlevel_spark.models.lane_dropout import LaneDropout
from memberlevel_spark.models.normal import log_between, log_normal_cdf


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a network, as kept beside its weights.

    Args:
        name: ``mlp``, ``logistic`` or ``linear``.
        num_features: length of a feature array.
        num_levels: number of levels, at least 2.
        hidden: width of each hidden layer; used by ``mlp`` only.
        dropout: share of hidden units dropped in training; used by ``mlp`` only.

    Raises:
        ConfigError: an unknown name or an impossible number.
    """

    name: str
    num_features: int
    num_levels: int
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.name not in _NETWORKS:
            nearest = get_close_matches(self.name, _NETWORKS, n=1, cutoff=0.0)
            raise ConfigError(
                f"unknown model: {self.name!r}. Use one of {', '.join(_NETWORKS)}; nearest: {nearest[0]}."
            )
        sizes_fit = self.num_features >= 1 and self.num_levels >= 2 and all(width >= 1 for width in self.hidden)
        if not (sizes_fit and 0 <= self.dropout < 1):
            raise ConfigError(
                f"impossible network: {self}. "
                "Give at least 1 feature, 2 levels, widths of at least 1, dropout in [0, 1)."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelSpec":
        """Build a spec from ``to_dict``'s result.

        Raises:
            ConfigError: missing or unknown keys.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise ConfigError(
                f"model spec has other keys than expected: {first_five(set(values) ^ names)}. "
                f"Give exactly {', '.join(sorted(names))}."
            )
        return cls(**{**values, "hidden": tuple(values["hidden"])})


class Mlp(nn.Module):
    """Hidden layers of Linear, LayerNorm, SiLU and dropout, plus a linear path from the features to the scores.

    The linear path carries what is already linear (today's level, carry-over), so the hidden layers only correct it.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = spec.num_features
        for hidden in spec.hidden:
            layers += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.SiLU(), LaneDropout(spec.dropout)]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(width, spec.num_levels)
        self.skip = nn.Linear(spec.num_features, spec.num_levels, bias=False)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return unnormalised scores [B, K]."""
        hidden_BH = self.hidden(features_BF)
        scores_BK: Tensor = self.head(hidden_BH) + self.skip(features_BF)
        return scores_BK


class Logistic(nn.Module):
    """Softmax regression: one linear score per level."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.scores = nn.Linear(spec.num_features, spec.num_levels)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return unnormalised scores [B, K]."""
        scores_BK: Tensor = self.scores(features_BF)
        return scores_BK


class LinearLevel(nn.Module):
    """Linear regression of the level number with normal errors, cut into levels half-way between their numbers.

    P(level = k) = Φ((k + ½ − μ) / σ) − Φ((k − ½ − μ) / σ), the outer levels reaching to infinity; μ is linear in the
    features and σ is one learned number.
    """

    # σ between 0.007 and 150 levels: beyond that a bin's two edges are the same float.
    _LOG_SIGMA_LIMIT = 5.0

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.mu = nn.Linear(spec.num_features, 1)
        self.log_sigma = nn.Parameter(torch.zeros(()))
        nn.init.constant_(self.mu.bias, (spec.num_levels - 1) / 2)
        self.register_buffer("edges_K1", torch.arange(spec.num_levels - 1) + 0.5, persistent=False)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return log-probabilities [B, K]."""
        sigma = self.log_sigma.clamp(-self._LOG_SIGMA_LIMIT, self._LOG_SIGMA_LIMIT).exp()
        z_BK1 = (self.edges_K1 - self.mu(features_BF)) / sigma
        lowest_B1 = log_normal_cdf(z_BK1[:, :1])
        highest_B1 = log_normal_cdf(-z_BK1[:, -1:])
        return torch.cat([lowest_B1, log_between(z_BK1[:, :-1], z_BK1[:, 1:]), highest_B1], dim=1)


_NETWORKS: dict[str, type[Mlp] | type[Logistic] | type[LinearLevel]] = {
    "mlp": Mlp,
    "logistic": Logistic,
    "linear": LinearLevel,
}


def build_network(spec: ModelSpec) -> nn.Module:
    """Build the network a spec names, with fresh weights from torch's current random state."""
    return _NETWORKS[spec.name](spec)
