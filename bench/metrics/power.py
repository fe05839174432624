"""How large must a true difference be before these videos and seeds find it?

The minimal detectable difference: the true effect at which the two-sided test of `bench.metrics.judge` decides in
`power` of all repetitions (other seeds and videos drawn each time), given how the paired difference scattered here.
A claim is called when its effect lies beyond half an interval; each part of the variance (seeds, videos) is itself
estimated, so

    power(d) = E [ Phi((d - half) / s) ],   half^2 = sum over parts of t_part^2 variance_part chi^2_part / freedom_part

with s^2 the sum of the variances; the expectation is over independent chi^2 and is formed by quadrature. With one
part this is the power of the t test (noncentral t). Skewness is left out: differences are nearly symmetric.
The scatter is taken as it was estimated here: with three seeds it is known to a factor of about 2, and so is the
answer. Source: Cohen (1988), chapter 2; Bloom (1995), Evaluation Review 19, "Minimum detectable effects".
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

from bench.metrics.statistics import Array
from bench.metrics.uncertainty import LEVEL, Part, Spread

POWER = 0.8
NODES = 100  # of the quadrature: one per cent of each chi^2


def detectable(spread: Spread, alpha: float = 1 - LEVEL, power: float = POWER, tests: int = 1) -> float:
    """The smallest true effect found with probability `power` at two-sided level `alpha`, in the effect's units.

    tests: claims decided together; the effect is asked to pass Holm's first and hardest step, alpha / tests.
    0 for a spread without variance. Raises ValueError when alpha, power or tests make no sense.
    """
    if not (0 < alpha < power < 1 and tests >= 1):
        raise ValueError(
            f"detectable: alpha {alpha}, power {power}, tests {tests}; wanted 0 < alpha < power < 1 <= tests"
        )
    if spread.variance == 0.0:
        return 0.0
    error, halves = spread.variance**0.5, _halves(spread, alpha / tests / 2)

    def lacking(effect: float) -> float:
        return float(np.mean(stats.norm.cdf((effect - halves) / error))) - power

    return float(optimize.brentq(lacking, 0.0, float(halves.max()) + 10 * error, xtol=1e-9 * error))


def _halves(spread: Spread, tail: float) -> Array:
    """Half widths of the interval as other repetitions would have them, equally likely: (NODES ** parts,)."""
    grids = np.meshgrid(*[_relative(part) for part in spread.parts], indexing="ij")
    square = sum((part.half(tail) ** 2 * grid for part, grid in zip(spread.parts, grids, strict=True)), np.zeros(1))
    least = spread.least.half(tail) ** 2 * _relative(spread.least)
    if len(spread.parts) > 1:
        least = least.reshape(-1, *[1] * (len(spread.parts) - 1))  # the same videos make it and the first part
    return np.asarray(np.sqrt(np.maximum(square, least))).ravel()


def _relative(part: Part) -> Array:
    """Estimates of a variance over the variance, at NODES equally likely places."""
    places = (np.arange(NODES) + 0.5) / NODES
    if not np.isfinite(part.freedom):
        return np.ones(NODES)
    return np.asarray(stats.chi2.ppf(places, part.freedom) / part.freedom)
