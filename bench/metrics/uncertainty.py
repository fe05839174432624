"""How far can a score be trusted? Intervals of FVD, KVD, PIC and differences, over videos and training seeds.

The estimand is the expectation of the score at this number of videos: FVD is biased upwards at any finite N,
and a plain bootstrap adds that bias a second time. So nothing is resampled: each unit (a video, or a group of
videos filmed together) is left out in turn, a generated clip together with the real one it was conditioned
on, which moves the estimate by its influence. Shapes: G units, N clips; influences are (G,).

    V_J = sum of squared influences          the jackknife: counts the second-order part of the variance twice
    V_2 = sum over pairs of interactions^2   that part, from pairs of units left out together
    V   = V_J - SECOND V_2, V_2 at most V_J / 2

V_J alone is too wide where generated and real clips are alike (measured coverage 99 %), V_J - V_2 (Efron and
Stein, 1981) too narrow where units are few (92 %), for leaving out two of few overstates V_2; what V covers
is measured in `docs/statistics.md`. Intervals use Student's t with degrees of freedom from the spread of the
squared influences (Satterthwaite), bent for their skewness (Hall, 1992, Annals of Statistics 20).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

from bench.metrics import kernel, pic
from bench.metrics.features import ENDS, Sample
from bench.metrics.forms import ROUNDED, Form, frechet_form, kernel_form
from bench.metrics.frechet import Rows
from bench.metrics.statistics import Array

LeaveOut = Callable[[Sequence[tuple[Rows, Rows]]], Array]

PAIRS = 256  # units left out two at a time: enough to know V_2 to a quarter, V to a few per cent
SECOND = 2 / 3  # of V_2 that is subtracted: chosen in some simulated worlds, checked in others
LEVEL = 0.95


class TooFew(ValueError):
    """There are too few videos for a value."""


@dataclass(frozen=True)
class Settings:
    """The choices of a protocol on which a score depends once features are there."""

    ddof: int = 1  # covariance divisor N - ddof
    kernel: kernel.Polynomial = kernel.CUBIC
    count_first_frame: bool = True
    root: str = "nuclear norm"  # of bench.metrics.roots.ROOTS
    estimator: str = "unbiased"  # of KVD, of bench.metrics.forms.ESTIMATORS
    scale: float = 1.0  # of KVD

    @property
    def sees_order(self) -> bool:
        """Whether rounding, blocks or draws depend on the order of the videos."""
        return self.root in ROUNDED or self.estimator in ROUNDED


@dataclass(frozen=True)
class Part:
    """An independent piece of a variance, and the degrees of freedom with which it is known."""

    variance: float
    freedom: float

    def half(self, tail: float) -> float:
        """Distance from the middle beyond which a t variable of this spread lies with probability `tail`."""
        return float(stats.t.isf(tail, self.freedom)) * self.variance**0.5


@dataclass(frozen=True)
class Spread:
    """How an estimate scatters: the parts of its variance, a part that it has at least, and its third moment."""

    parts: tuple[Part, ...]
    least: Part
    third: float = 0.0

    @staticmethod
    def of(variance: float, freedom: float, third: float = 0.0) -> Spread:
        """A spread of one part."""
        return Spread((Part(variance, freedom),), Part(variance, freedom), third)

    def to_json(self) -> dict[str, object]:
        """Plain numbers, for `from_json`."""
        parts = [[float(part.variance), float(part.freedom)] for part in (*self.parts, self.least)]
        return {"parts": parts[:-1], "least": parts[-1], "third": float(self.third)}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Spread:
        """What `to_json` told of."""
        return Spread(tuple(Part(*part) for part in told["parts"]), Part(*told["least"]), told["third"])

    @property
    def variance(self) -> float:
        """Of the estimate."""
        return max(sum(part.variance for part in self.parts), self.least.variance)

    @property
    def skewness(self) -> float:
        """Of the estimate, not of one unit: it falls as one over the root of the number of units."""
        return self.third / self.variance**1.5 if self.variance > 0 else 0.0

    def quantile(self, tail: float) -> float:
        """In standard errors; each part keeps its own t quantile, so a part that is badly known counts as such."""
        half = max(sum(part.half(tail) ** 2 for part in self.parts) ** 0.5, self.least.half(tail))
        return half / self.variance**0.5

    def tail(self, t: float) -> float:
        """Probability of a value above `t` standard errors: `quantile` turned round."""
        if t < 0:
            return 1.0 - self.tail(-t)
        log_tail = (np.log(1e-100), np.log(0.5))
        if self.quantile(np.exp(log_tail[0])) <= t:
            return 0.0
        return float(np.exp(optimize.brentq(lambda x: self.quantile(np.exp(x)) - t, *log_tail, xtol=1e-12)))


@dataclass(frozen=True)
class Estimate:
    """A value, and what each unit contributes to its deviation; differences and means of estimates are
    estimates.

    influence (G,): sums of squares are variances; None: too few units to tell.
    interaction (P,): of the pairs of `_partners`; None: too few units, no second-order correction.
    moved: how far the value lies from the base form whose influences these are (`bench.metrics.forms`).
    """

    value: float
    influence: Array | None = None
    interaction: Array | None = None
    moved: float = 0.0

    @staticmethod
    def combine(weights: Sequence[float], parts: Sequence[Estimate]) -> Estimate:
        """sum of weight * estimate; all parts must have been made with the same units."""

        def total(arrays: Sequence[Array | None]) -> Array | None:
            if any(array is None for array in arrays):
                return None
            return np.asarray(sum(w * array for w, array in zip(weights, arrays, strict=True) if array is not None))

        return Estimate(
            float(sum(w * part.value for w, part in zip(weights, parts, strict=True))),
            total([part.influence for part in parts]),
            total([part.interaction for part in parts]),
            float(sum(w * part.moved for w, part in zip(weights, parts, strict=True))),
        )

    def __sub__(self, other: Estimate) -> Estimate:
        return Estimate.combine([1.0, -1.0], [self, other])

    @staticmethod
    def mean(parts: Sequence[Estimate]) -> Estimate:
        """The mean of estimates made with the same units."""
        return Estimate.combine([1.0 / len(parts)] * len(parts), parts)

    def spread(self) -> Spread | None:
        """V as at the top of this file; None when there are too few units."""
        if self.influence is None:
            return None
        count, squares = len(self.influence), self.influence**2
        total = float(squares.sum())
        if total == 0.0:
            return Spread.of(0.0, count - 1.0)
        second = 0.0
        if self.interaction is not None:
            second = count * (count - 1) / 2 * float(np.mean(self.interaction**2))
        noise = float(np.sum(squares**2)) - total**2 / count
        freedom = 2 * total**2 / noise if noise > 0 else np.inf
        cubes = float(np.sum(self.influence**3))
        return Spread.of(total - SECOND * min(second, total / 2), float(np.clip(freedom, 1.0, count - 1)), cubes)


@dataclass(frozen=True)
class Interval:
    """`value` and its interval at `level`; low and high are None where none can be given.

    words say what is covered; spread is what the interval was made from.
    """

    value: float
    low: float | None
    high: float | None
    level: float
    words: str = ""
    spread: Spread | None = None

    @property
    def p_above(self) -> float | None:
        """One-sided p of "the true value is 0 or less": small when the value is clearly above 0."""
        if self.spread is None:
            return None
        if self.spread.variance == 0.0:
            return 0.5 if self.value == 0.0 else float(self.value < 0.0)
        skew, t = self.spread.skewness, self.value / self.spread.variance**0.5
        return self.spread.tail(t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6)


# ---- units ----


class Units:
    """What is left out as a whole: every unit that one of `samples` has, in the order of their names."""

    def __init__(self, *samples: Sample) -> None:
        self.names = tuple(sorted({name for sample in samples for name in sample.units}))

    def rows(self, sample: Sample) -> list[Rows]:
        """The rows of `sample` that belong to each unit; empty where it has none."""
        place = {name: index for index, name in enumerate(self.names)}
        of_unit: list[list[int]] = [[] for _ in self.names]
        for row, name in enumerate(sample.units):
            of_unit[place[name]].append(row)
        return [np.array(rows, dtype=np.intp) for rows in of_unit]

    def of(self, sample: Sample, reference: Sample) -> list[tuple[Rows, Rows]]:
        """Rows of both sides, unit by unit."""
        return list(zip(self.rows(sample), self.rows(reference), strict=True))


def jackknife(
    value: float, leave_out: LeaveOut, units: Sequence[tuple[Rows, Rows]], counts: tuple[int, int], least: int
) -> Estimate:
    """The influence of each unit on `value`.

    leave_out gives the value without each of some units; counts are the clips of the two sides (0: no such
    side); least is the smallest number of clips from which the value can still be computed.
    """
    sizes = np.array([[len(a), len(b)] for a, b in units], dtype=float)
    share = np.max(sizes / np.maximum(counts, 1), axis=1)
    if not _enough(sizes, counts, least, 1):
        return Estimate(value)
    without = leave_out(units)
    influence = _centred((value - without) * (1 - share), share, (sizes > 0) @ np.array([2, 1]))
    if not _enough(sizes, counts, least, 2):
        return Estimate(value, influence)
    left, right = _partners(len(units))
    both = [tuple(np.concatenate([units[i][s], units[j][s]]) for s in (0, 1)) for i, j in zip(left, right, strict=True)]
    joint = leave_out([(a, b) for a, b in both])
    rest = 1 - np.max((sizes[left] + sizes[right]) / np.maximum(counts, 1), axis=1)
    return Estimate(value, influence, (value - without[left] - without[right] + joint) * rest**2)


def _enough(sizes: Array, counts: tuple[int, int], least: int, gone: int) -> bool:
    """Whether enough clips remain when any `gone` units are left out."""
    largest = np.sort(sizes, axis=0)[::-1][:gone].sum(axis=0)
    remaining = [count - size for count, size in zip(counts, largest, strict=True) if count]
    return len(sizes) > gone and min(remaining) >= least


def _centred(influence: Array, share: Array, kind: Array) -> Array:
    """Deviations from their mean, per kind of unit: on both sides, or on one only (independent samples)."""
    found = np.zeros(len(influence))
    for one in np.unique(kind[kind > 0]):
        mine = kind == one
        count = int(mine.sum())
        part = influence[mine]
        if count > 1:
            part = (part - share[mine] / share[mine].sum() * part.sum()) * np.sqrt(count / (count - 1))
        found[mine] = part
    return found


def _partners(count: int) -> tuple[Rows, Rows]:
    """PAIRS pairs of units (all, if there are fewer), the same every time: neighbours in a fixed shuffle."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(count)
    lags = range(1, min((count - 1) // 2, -(-PAIRS // count)) + 1) or range(1, 2)
    left = np.concatenate([order for _ in lags])
    return left[:PAIRS], np.concatenate([np.roll(order, -lag) for lag in lags])[:PAIRS]


# ---- estimates ----


def estimate(
    metric: str,
    sample: Sample,
    reference: Sample | None,
    units: Units | None = None,
    settings: Settings | None = None,
) -> Estimate:
    """A metric of `sample`, against `reference` where it compares with real clips, with the influence of each unit.

    `units` must hold those of both; estimates that are to be compared need the same ones. Raises TooFew when
    there are too few videos for a value, or it was not measured; ValueError for an unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; known: {', '.join(METRICS)}")
    chosen, told = settings or Settings(), [one for one in (sample, reference) if one is not None]
    if metric in PER_VIDEO:
        return _mean(metric, sample, units or Units(*told), chosen)
    if reference is None:
        raise TooFew(f"{metric.upper()} needs real clips to compare with, and there are none")
    if chosen.sees_order:
        sample, reference = sample.by_name(), reference.by_name()
    form = (_fvd if metric == "fvd" else _kvd)(sample, reference, chosen)
    least = chosen.ddof + 1 if metric == "fvd" else 2
    counts, rows = (len(sample), len(reference)), (units or Units(*told)).of(sample, reference)
    found = jackknife(form.base, form.leave_out, rows, counts, least)
    return Estimate(form.value, found.influence, found.interaction, form.value - form.base)


def _fvd(sample: Sample, reference: Sample, settings: Settings) -> Form:
    _need("FVD", settings.ddof + 1, len(sample), len(reference))
    return frechet_form(sample.features, reference.features, settings.root, settings.ddof)


def _kvd(sample: Sample, reference: Sample, settings: Settings) -> Form:
    _need("KVD", 2, len(sample), len(reference))
    x, y = sample.features, reference.features
    return kernel_form(x, y, settings.estimator, settings.kernel, settings.scale)


def _mean(metric: str, sample: Sample, units: Units, settings: Settings) -> Estimate:
    """A mean over videos, which no reference enters."""
    videos = per_video(metric, sample, settings)
    _need(metric.upper() if metric == "pic" else metric, 1, len(videos))
    none: Rows = np.array([], dtype=np.intp)
    own = [(rows, none) for rows in units.rows(sample)]
    value = float(videos.mean())
    return jackknife(value, lambda some: pic.leave_out(videos, some), own, (len(videos), 0), 1)


def per_video(metric: str, sample: Sample, settings: Settings | None = None) -> Array:
    """What each video contributes to a metric of PER_VIDEO, (N,). Raises TooFew when it was not measured."""
    if not sample.has(metric):
        raise TooFew(f"{metric} was not measured")
    if metric == "pic":
        return pic.per_video(sample.conformity, (settings or Settings()).count_first_frame)
    return sample.extras[metric]


COMPARED = ("fvd", "kvd")  # with real clips
PER_VIDEO = ("pic", "motion", "consistency", "alignment", "motion_as_asked", *ENDS)
METRICS = (*COMPARED, *PER_VIDEO)


def _need(what: str, least: int, *counts: int) -> None:
    if min(counts) < least:
        videos = "videos" if least > 1 else "video"
        where = " on each side" if len(counts) > 1 else ""
        raise TooFew(f"{what} needs {least} {videos}{where}, there are {' and '.join(map(str, counts))}")


# ---- intervals ----


def over_videos(one: Estimate, level: float = LEVEL) -> Interval:
    """Interval of one estimate: other videos would have been drawn, the trained model stays."""
    return _interval(one.value, one.spread(), level, "videos drawn again, the trained model fixed")


def over_seeds(seeds: Sequence[Estimate], level: float = LEVEL) -> Interval:
    """Interval of the mean over training seeds: other seeds and other videos would have been drawn.

    All seeds share the videos (two crossed random effects). The variance between seeds over their number is known
    with seeds - 1 degrees of freedom; the rest, what videos do to all seeds alike, is the jackknife variance of the
    mean less what videos put between the seeds. Each part keeps its own t quantile, which holds its level in the
    tails that Holm's correction asks about, where one averaged number of degrees of freedom (Satterthwaite) errs
    four times too often. Never narrower than `over_videos`, which is what one seed gets, and its words say so.
    """
    mean, count = Estimate.mean(seeds), len(seeds)
    videos, inside = mean.spread(), [(one - mean).spread() for one in seeds]
    if count < 2 or videos is None:
        return over_videos(mean, level)
    between = float(np.var([one.value for one in seeds], ddof=1)) / count
    from_videos = sum(one.variance for one in inside if one is not None) / (count - 1) / count
    common = max(videos.variance - from_videos, 0.0)
    parts = (Part(common, videos.least.freedom), Part(between, count - 1.0))
    words = f"videos and {count} training seeds drawn again"
    return _interval(mean.value, Spread(parts, videos.least, videos.third), level, words)


def _interval(value: float, spread: Spread | None, level: float, words: str) -> Interval:
    if spread is None:
        return Interval(value, None, None, level)
    if spread.variance == 0.0:
        return Interval(value, value, value, level, words, spread)
    error, quantile = spread.variance**0.5, spread.quantile((1 - level) / 2)
    low, high = (value - error * _bend(q, spread.skewness) for q in (quantile, -quantile))
    return Interval(value, low, high, level, words, spread)


def _bend(quantile: float, skew: float) -> float:
    """The quantile of (estimate - truth) / error: Hall's cubic, undone; itself without skewness."""
    if abs(skew) < 1e-6:
        return quantile
    return float(3 / skew * (np.cbrt(1 + skew * (quantile - skew / 6)) - 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values; None (no test was possible) stays None and does not count."""
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[index] = largest
    return adjusted
