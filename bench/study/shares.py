"""How large is a percentage of raters' answers, and how sure is it? Shares with intervals clustered by rater.

Answers of one rater resemble each other, so n answers are worth fewer than n. The design effect says how many fewer:

    deff = sum_s Var(mean over raters of p_rs) / sum_s p_s (1 - p_s) / n,   at least 1

p_rs the share of rater r for system s, p_s the mean over R raters, n all answers; one deff for all systems of a
question (first-order correction of Rao and Scott, 1981, Annals of Statistics 9). Then Wilson's interval (1927) with
n / deff answers and the t quantile of R - 1 degrees of freedom (Korn and Graubard, 1998). One rater gives none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
METHOD = (
    "Wilson’s score interval on the effective number of answers: answers of one rater count as a cluster (design "
    "effect of Rao and Scott, at least 1), with the t quantile of raters − 1 degrees of freedom; for these inputs"
)
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """A share in [0, 1] of `of` answers; low and high are None where one rater tells nothing of others."""

    value: float
    low: float | None
    high: float | None
    votes: int
    of: int


def shares(votes: Counts, asked: Counts, level: float = LEVEL) -> list[Share]:
    """One share per system from votes (R, S) of `asked` (R, S) answers, every entry of `asked` above 0.

    For questions to pick, a rater's votes over systems sum to the screens, and `asked` is that number everywhere.
    """
    by_rater = votes / asked
    raters = len(votes)
    middle, total = votes.sum(axis=0) / asked.sum(axis=0), asked.sum(axis=0)
    effect = _design_effect(by_rater, middle, total)
    made = []
    for system, value in enumerate(middle):
        known = _wilson(float(value), total[system] / effect, raters - 1, level) if raters > 1 else None
        low, high = known or (None, None)
        made.append(Share(float(value), low, high, int(votes[:, system].sum()), int(total[system])))
    return made


def _design_effect(by_rater: NDArray[np.float64], middle: NDArray[np.float64], total: Counts) -> float:
    if len(by_rater) < 2:
        return 1.0
    clustered = float((by_rater.var(axis=0, ddof=1) / len(by_rater)).sum())
    independent = float((middle * (1 - middle) / total).sum())
    return max(1.0, clustered / independent) if independent > 0 else 1.0


def _wilson(share: float, n: float, freedom: int, level: float) -> tuple[float, float]:
    """The set of true shares that a score test at this quantile does not reject."""
    t = float(stats.t.ppf((1 + level) / 2, freedom))
    middle = (share + t * t / (2 * n)) / (1 + t * t / n)
    half = t / (1 + t * t / n) * math.sqrt(share * (1 - share) / n + t * t / (4 * n * n))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))
