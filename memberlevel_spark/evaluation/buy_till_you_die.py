"""BG/NBD and Gamma-Gamma: the classic forecast of orders and spend from how often and how recently members bought.

BG/NBD (Fader, Hardie and Lee 2005, "Counting your customers the easy way"): a member orders at a rate λ, Gamma(r, α)
over members, and after each order leaves for good with a probability p, Beta(a, b) over members. Gamma-Gamma (Fader and
Hardie 2013): the worth of an order is Gamma(p, ν), and ν is Gamma(q, γ) over members.

In: sufficient statistics of histories that begin with the first order: ``x`` repeated orders, the last of them ``t_x``
after the first, all seen for ``t``; equal histories once, with their number as weight. Out: parameters, and
expectations per history. No Spark.

Shape legend: U different histories, N members.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

from memberlevel_spark.errors import DataQualityError
from memberlevel_spark.evaluation.inputs import FloatArray

# A little of it keeps parameters finite where histories say nothing of one of them.
_PENALTY = 1e-6
_MOST_STEPS = 2000


@dataclass(frozen=True)
class BgNbd:
    """Parameters of the number of orders; times are in the unit of the histories that were fitted."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, x_U: FloatArray, t_x_U: FloatArray, t_U: FloatArray, weight_U: FloatArray) -> "BgNbd":
        """Find the likeliest parameters. Errors: DataQualityError when there is no history with a repeated order."""
        if not (x_U > 0).any():
            raise DataQualityError(
                f"BG/NBD cannot be fitted: none of {len(x_U)} histories has a second order. Wait for more history."
            )
        # In units in which the longest history is about 10, all four logarithms are of one size.
        scale = 10 / float(t_U.max())
        scaled = (x_U, t_x_U * scale, t_U * scale)

        def surprise(log_parameters: FloatArray) -> float:
            found = cls(*np.exp(log_parameters))
            return float(-(found.log_likelihood(*scaled) * weight_U).sum() / weight_U.sum())

        r, alpha, a, b = _fitted(surprise, 4)
        return cls(r, alpha / scale, a, b)

    def log_likelihood(self, x_U: FloatArray, t_x_U: FloatArray, t_U: FloatArray) -> FloatArray:
        """Log-likelihood [U] of each history (equation 6)."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        common_U = gammaln(r + x_U) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x_U) - betaln(a, b)
        alive_U = -(r + x_U) * np.log(alpha + t_U)
        ratio_U = np.log(a) - np.log(b + np.maximum(x_U, 1) - 1)
        left_U = np.where(x_U > 0, ratio_U - (r + x_U) * np.log(alpha + t_x_U), -np.inf)
        found_U: FloatArray = common_U + np.logaddexp(alive_U, left_U)
        return found_U

    def p_alive(self, x_N: FloatArray, t_x_N: FloatArray, t_N: FloatArray) -> FloatArray:
        """P(has not left) [N]; 1 without a repeated order: nobody leaves before one."""
        ratio_N = self.a / (self.b + np.maximum(x_N, 1) - 1)
        log_odds_N = np.log(ratio_N) + (self.r + x_N) * np.log((self.alpha + t_N) / (self.alpha + t_x_N))
        alive_N: FloatArray = np.where(x_N > 0, 1 / (1 + np.exp(log_odds_N)), 1.0)
        return alive_N

    def p_no_order(self, x_N: FloatArray, t_x_N: FloatArray, t_N: FloatArray, *, ahead: float) -> FloatArray:
        """P(no order within ``ahead``) [N]: has left, or has not and is waiting longer than that."""
        alive_N = self.p_alive(x_N, t_x_N, t_N)
        waits_N = ((self.alpha + t_N) / (self.alpha + t_N + ahead)) ** (self.r + x_N)
        found_N: FloatArray = 1 - alive_N * (1 - waits_N)
        return found_N

    def expected_orders(self, x_N: FloatArray, t_x_N: FloatArray, t_N: FloatArray, *, ahead: float) -> FloatArray:
        """E(number of orders within ``ahead``) [N] (equation 10)."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        z_N = ahead / (alpha + t_N + ahead)
        series_N = hyp2f1(r + x_N, b + x_N, a + b + x_N - 1, z_N)
        grown_N = 1 - ((alpha + t_N) / (alpha + t_N + ahead)) ** (r + x_N) * series_N
        found_N: FloatArray = (a + b + x_N - 1) / (a - 1) * grown_N * self.p_alive(x_N, t_x_N, t_N)
        return found_N


@dataclass(frozen=True)
class GammaGamma:
    """Parameters of the worth of an order."""

    p: float
    q: float
    gamma: float

    @classmethod
    def fit(cls, x_U: FloatArray, worth_U: FloatArray, weight_U: FloatArray) -> "GammaGamma":
        """Find the likeliest parameters from members' mean worth of ``x`` orders; both above 0.

        Errors: DataQualityError when no member has orders of some worth.
        """
        if not len(x_U) or (x_U <= 0).any() or (worth_U <= 0).any():
            raise DataQualityError(
                f"Gamma-Gamma cannot be fitted: {len(x_U)} members, orders and their worth must be above 0. Leave out"
                " members without them."
            )
        mean = float(np.average(worth_U, weights=weight_U))

        def surprise(log_parameters: FloatArray) -> float:
            p, q, gamma = np.exp(log_parameters)
            z_U = worth_U / mean
            log_likelihood_U = (
                gammaln(p * x_U + q)
                - gammaln(p * x_U)
                - gammaln(q)
                + q * np.log(gamma)
                + (p * x_U - 1) * np.log(z_U)
                + p * x_U * np.log(x_U)
                - (p * x_U + q) * np.log(gamma + x_U * z_U)
            )
            return float(-(log_likelihood_U * weight_U).sum() / weight_U.sum())

        p, q, gamma = _fitted(surprise, 3)
        return cls(p, q, gamma * mean)

    def expected_worth(self, x_N: FloatArray, worth_N: FloatArray) -> FloatArray:
        """E(worth of a later order) [N]: between a member's own mean and that of all; 0 orders: that of all."""
        found_N: FloatArray = self.p * (self.gamma + x_N * worth_N) / (self.p * x_N + self.q - 1)
        return found_N


def _fitted(surprise: Callable[[FloatArray], float], num_parameters: int) -> FloatArray:
    def penalised(log_parameters: FloatArray) -> float:
        return surprise(log_parameters) + _PENALTY * float(np.square(log_parameters).sum())

    start = np.zeros(num_parameters)
    found = minimize(
        penalised, start, method="Nelder-Mead", options={"maxiter": _MOST_STEPS, "fatol": 1e-10, "xatol": 1e-6}
    )
    found = minimize(penalised, found.x, method="L-BFGS-B", bounds=[(-15, 15)] * num_parameters)
    parameters: FloatArray = np.exp(found.x)
    return parameters
