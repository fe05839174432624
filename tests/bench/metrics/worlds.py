"""Features whose distribution is known: the generator of the golden numbers, and worlds in which intervals can be
checked against the truth. `python -m tests.bench.metrics.worlds [repetitions]` prints the table of
docs/statistics.md.

A world draws N videos; a real clip has 16 strong factors and D weak ones, its generated clip shares part of both
(it was conditioned on the real one), with factors of another strength and a shift.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bench.metrics.features import Sample
from bench.metrics.uncertainty import Estimate, Interval, Units, estimate, over_seeds, over_videos

FACTORS = 16


def golden_features(seed, N, D, wseed, K=16, fac=2, wscale=1, noise=1, decades=0, shift=0, scale=1, offset=0, nconst=0):
    """The matrix that the reference numbers were computed from, (N, D) float32."""
    g, h = (np.random.Generator(np.random.PCG64(s)) for s in (seed, wseed))
    z, c = g.standard_normal((N, D)), g.standard_normal((N, K))
    w, u = h.standard_normal((K, D)), h.standard_normal(D)
    x = noise * z
    for k in range(K):
        x = x + (fac * wscale) * (c[:, k : k + 1] * w[k : k + 1, :])
    if decades:
        x = x * 10 ** (-decades * np.arange(D) / (D - 1))
    x = (x + shift * u) * scale + offset
    x[:, :nconst] = 0.5
    return x.astype(np.float32)


@dataclass(frozen=True)
class World:
    """strength 0: generated and real clips have the same distribution; 1: they differ clearly."""

    n: int = 256
    dim: int = 64
    strength: float = 1.0
    factors: bool = True
    clusters: bool = False  # videos in groups of 2 to 6, more alike within a group
    paired: bool = True  # else generated and real clips are of different videos
    heavy: bool = False  # multivariate t with 5 degrees of freedom: outliers in all features at once
    seeds: int = 1  # training seeds, each shifted by an amount of its own
    spread: float = 0.0  # of that amount
    variants: int = 1  # the second is generated with strength 0.7

    def draw(self, rng: np.random.Generator) -> tuple[list[list[Sample]], Sample]:
        """Samples per variant and seed, and the reference."""
        groups = self._groups(rng)
        z, e = self._latent(rng, groups)
        scale = np.sqrt(3 / rng.chisquare(5, (self.n, 1))) if self.heavy else np.ones((self.n, 1))
        real = scale * (z @ self._weights() + e)
        strengths = (self.strength, 0.7 * self.strength)[: self.variants]
        made = [[self._generate(rng, groups, z, e, scale, s) for _ in range(self.seeds)] for s in strengths]
        names = "r" if self.paired else "g"
        return (
            [[self._sample(x, groups, names, real) for x in seeds] for seeds in made],
            self._sample(real, groups, "r", real),
        )

    def _groups(self, rng):
        if not self.clusters:
            return np.arange(self.n)
        sizes = rng.integers(2, 7, self.n)
        return np.repeat(np.arange(self.n), sizes)[: self.n]

    def _latent(self, rng, groups):
        """Factors (n, 16) and noise (n, dim) of each video, each normal with variance 1."""

        def one(width, shared):
            own, common = rng.standard_normal((self.n, width)), rng.standard_normal((self.n, width))[groups]
            return np.sqrt(shared) * common + np.sqrt(1 - shared) * own

        shared = (0.6, 0.4) if self.clusters else (0.0, 0.0)
        z = one(FACTORS, shared[0]) if self.factors else np.zeros((self.n, FACTORS))
        return z, one(self.dim, shared[1])

    def _generate(self, rng, groups, z, e, scale, strength):
        z2, e2 = self._latent(rng, groups)
        if self.paired:
            z2, e2 = 0.8 * z + 0.6 * z2, 0.6 * e + 0.8 * e2
        strong = (1 + 0.1 * strength) * np.linspace(1, 1 - 0.4 * strength, FACTORS)
        amount = 0.3 * strength + self.spread * rng.standard_normal()
        shift = amount * np.random.default_rng(778).standard_normal(self.dim)
        return scale * ((z2 * strong) @ self._weights() + (1 - 0.15 * strength) * e2) + shift

    def _weights(self):
        return 0.7 * np.random.default_rng(777).standard_normal((FACTORS, self.dim))

    def _sample(self, x, groups, name, real):
        conformity = 1 / (1 + np.exp(-(1 + 0.3 * x[:, :4] + 0.3 * real[:, 1:5])))
        return Sample(
            x,
            conformity,
            tuple(f"{name}{i}" for i in range(self.n)),
            tuple(f"{name}{g}" for g in groups) if self.clusters else (None,) * self.n,
        )


Measure = Callable[[list[list[Sample]], Sample], Interval]


def single(metric: str) -> Measure:
    """Interval of one model's score over videos."""
    return lambda made, reference: over_videos(estimate(metric, made[0][0], reference))


def mean_of_seeds(metric: str) -> Measure:
    """Interval of the mean over training seeds."""

    def measure(made: list[list[Sample]], reference: Sample) -> Interval:
        units = Units(*made[0], reference)
        return over_seeds([estimate(metric, one, reference, units) for one in made[0]])

    return measure


def difference(metric: str) -> Measure:
    """Interval of the difference of two variants, over seeds if there are several."""

    def measure(made: list[list[Sample]], reference: Sample) -> Interval:
        units = Units(*made[0], *made[1], reference)
        pairs = zip(*made, strict=True)
        effects = [
            Estimate.combine([1, -1], [estimate(metric, one, reference, units) for one in pair]) for pair in pairs
        ]
        return over_seeds(effects)

    return measure


@dataclass(frozen=True)
class Coverage:
    """Share of intervals that held the truth, that lay above it, below it; mean half width over 1.96 true errors."""

    cover: float
    above: float
    below: float
    width: float
    mean: float
    error: float


def coverage(world: World, measure: Measure, repetitions: int, seed: int = 5) -> Coverage:
    """The truth is the mean of the value over the repetitions: its expectation at this N."""
    found = [measure(*world.draw(np.random.default_rng([seed, r]))) for r in range(repetitions)]
    values, low, high = (np.array([getattr(i, name) for i in found]) for name in ("value", "low", "high"))
    truth, error = values.mean(), values.std(ddof=1)
    above, below = float(np.mean(low > truth)), float(np.mean(high < truth))
    width = float(np.mean(high - low) / 2 / (1.96 * error))
    return Coverage(1 - above - below, above, below, width, float(truth), float(error))


PLAIN = World()
CASES: dict[str, tuple[World, Callable[[str], Measure]]] = {
    "plain": (PLAIN, single),
    "groups of 2 to 6": (replace(PLAIN, clusters=True), single),
    "groups, generated nearly real": (replace(PLAIN, clusters=True, strength=0.3), single),
    "no strong factors": (replace(PLAIN, factors=False), single),
    "other videos than the reference's": (replace(PLAIN, paired=False), single),
    "generated as real": (replace(PLAIN, strength=0.0), single),
    "as real, other videos": (replace(PLAIN, strength=0.0, paired=False), single),
    "difference of two variants": (replace(PLAIN, variants=2), difference),
    "difference, groups": (replace(PLAIN, variants=2, clusters=True), difference),
}
OTHERS = {  # nothing was chosen by looking at these
    "192 videos": (replace(PLAIN, n=192), single),
    "192 videos in groups": (replace(PLAIN, n=192, clusters=True), single),
    "96 videos": (replace(PLAIN, n=96), single),
    "48 videos, singular": (replace(PLAIN, n=48), single),
    "1024 videos": (replace(PLAIN, n=1024), single),
}
SEEDS = {
    "three seeds, all alike": (replace(PLAIN, seeds=3), mean_of_seeds),
    "three seeds, differing as videos do": (replace(PLAIN, seeds=3, spread=0.05), mean_of_seeds),
    "three seeds, differing more": (replace(PLAIN, seeds=3, spread=0.1), mean_of_seeds),
    "difference, three seeds, all alike": (replace(PLAIN, seeds=3, variants=2), difference),
    "difference, three seeds, as videos": (replace(PLAIN, seeds=3, spread=0.05, variants=2), difference),
    "difference, three seeds, far more": (replace(PLAIN, seeds=3, spread=0.3, variants=2), difference),
}
LIMITS = {  # where intervals fail, for the record
    "outliers (t with 5 degrees of freedom)": (replace(PLAIN, heavy=True), single),
    "three seeds, far more and lopsided": (replace(PLAIN, seeds=3, spread=0.3), mean_of_seeds),
}


def main(repetitions: int) -> None:
    """Prints the table, a line per world and metric."""
    for name, (world, kind) in {**CASES, **OTHERS, **SEEDS, **LIMITS}.items():
        for metric in ("fvd", "kvd", "pic"):
            if metric == "pic" and not world.paired:
                continue  # PIC has no reference: the same as the paired world
            start = time.time()
            c = coverage(world, kind(metric), repetitions)
            print(
                f"| {name} | {metric.upper()} | {c.cover:.1%} | {c.above:.1%} | {c.below:.1%} | {c.width:.2f} |",
                f"  mean {c.mean:.4g} error {c.error:.3g}, {time.time() - start:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
