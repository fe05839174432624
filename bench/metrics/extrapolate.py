"""What would FVD be with infinitely many videos?

FVD at N videos is biased upwards by about slope / N, so it is measured on parts of the videos as well, and a line
in 1 / n through the points is read off at 0. Whole units (videos, or groups filmed together, both sides of a pair)
are put in one fixed random circle; the point at n is the mean over ceil(N / n) equally spaced arcs of it, so all
videos count about equally at every n. Points lie at N / 1, N / 1.5, ..., N / 4: equally spaced in 1 / n.

Only points with more than 2 D units on either side are fitted (below, higher powers of D / n are no longer small),
and 4 of them are asked for: 5 D units. Otherwise, and where the points bend, there is no fit, and the reason is
given. The value at infinity is a weighted sum of the points, so its interval is made as every other one: from the
influence of each unit on that sum. Shapes: points have n falling; D features.
Source: Chong and Forsyth, arXiv:1911.07023, "Effectively Unbiased FID and Inception Score": the line in 1 / N, there
without interval or check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.metrics.features import Sample
from bench.metrics.frechet import Rows, frechet_from_features
from bench.metrics.uncertainty import LEVEL, Estimate, Interval, Settings, Units, estimate, over_seeds, over_videos

PARTS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)  # N / n
LEAST_POINTS = 4
PER_FEATURE = 2  # a point is fitted when it has more units than this times D
STABLE = "nuclear norm"
BENT = 3.0  # standard errors of curvature beyond which the points are not called a line


@dataclass(frozen=True, eq=False)
class Arcs:
    """The parts that make one point, of one seed: rows of the generated clips and of the reference."""

    rows: tuple[tuple[Rows, Rows], ...]
    units: int  # of the side that has fewest, in the smallest part

    @property
    def count(self) -> float:
        """Generated videos in a part."""
        return float(np.mean([len(x) for x, _ in self.rows]))


@dataclass(frozen=True)
class Line:
    """FVD = value + slope / n. `residual`: root mean square distance of the fitted points from it, in FVD."""

    value: Interval
    slope: float
    residual: float
    curvature: float  # of the points, in its own standard errors


def curve(
    seeds: Sequence[Sample], reference: Sample, settings: Settings | None = None, level: float = LEVEL
) -> dict[str, Any]:
    """FVD against the number of videos, and at infinity where that is sound, of one or more training seeds.

    In the stable form, with the protocol's covariance divisor, whatever root the protocol prints with. JSON:

    metric "fvd"; n, videos; dim, features; seeds; points [{n, value, subsets, fitted}], none where there are too few
    videos for a value; fit {value, low, high, level, slope, residual, curvature, words} or null; reason: why there
    is no fit, else empty.
    """
    chosen = replace(settings or Settings(), root=STABLE)  # other roots add errors that do not fall with n
    dim = reference.features.shape[1]
    units = Units(*seeds, reference)
    points = [at for part in PARTS if _enough(at := [arcs(one, reference, units, part) for one in seeds], chosen.ddof)]
    used = [at for at in points if min(one.units for one in at) > PER_FEATURE * dim]
    line = fit(used, seeds, reference, units, chosen, level) if len(used) >= LEAST_POINTS else None
    reason = _reason(line, len(used), dim)
    return {
        "metric": "fvd",
        "n": min([len(reference), *map(len, seeds)]),
        "dim": dim,
        "seeds": len(seeds),
        "points": [_point(at, seeds, reference, chosen.ddof, not reason and at in used) for at in points],
        "fit": None if reason or line is None else _told(line),
        "reason": reason,
    }


def arcs(sample: Sample, reference: Sample, units: Units, part: float) -> Arcs:
    """ceil(part) parts of about 1 / part of the units each; the same for every seed."""
    count = len(units.names)
    order = np.random.Generator(np.random.PCG64(1)).permutation(count)
    size, turns = round(count / part), int(np.ceil(part))
    rows = units.of(sample, reference)
    found, fewest = [], count
    for turn in range(turns):
        mine = [rows[place] for place in np.take(order, np.arange(size) + turn * count // turns, mode="wrap")]
        fewest = min(fewest, *(sum(len(unit[side]) > 0 for unit in mine) for side in (0, 1)))
        left, right = (np.sort(np.concatenate([unit[side] for unit in mine])) for side in (0, 1)) if mine else ((), ())
        found.append((np.asarray(left, np.intp), np.asarray(right, np.intp)))
    return Arcs(tuple(found), fewest)


def fit(
    used: Sequence[Sequence[Arcs]],
    seeds: Sequence[Sample],
    reference: Sample,
    units: Units,
    settings: Settings,
    level: float = LEVEL,
) -> Line:
    """Least squares through 4 or more points, used[point][seed]; every point weighs the same."""
    inverse = np.array([1.0 / np.mean([one.count for one in at]) for at in used])
    intercept, slope = np.linalg.pinv(np.stack([np.ones_like(inverse), inverse], axis=1))
    bend = np.linalg.pinv(np.stack([inverse**power for power in (0, 1, 2)], axis=1))[2]
    by_seed = [
        [_estimate(at[index], one, reference, units, settings) for at in used] for index, one in enumerate(seeds)
    ]
    values = np.mean([[point.value for point in points] for points in by_seed], axis=0)
    curvature = Estimate.mean([Estimate.combine(list(bend), points) for points in by_seed])
    spread = over_videos(curvature).spread
    return Line(
        value=over_seeds([Estimate.combine(list(intercept), points) for points in by_seed], level),
        slope=float(slope @ values),
        residual=float(np.sqrt(np.mean((values - intercept @ values - inverse * (slope @ values)) ** 2))),
        curvature=curvature.value / spread.variance**0.5 if spread and spread.variance > 0 else 0.0,
    )


def _estimate(at: Arcs, sample: Sample, reference: Sample, units: Units, settings: Settings) -> Estimate:
    """FVD of a point, with the influence of every unit on it."""
    parts = [(sample.take(left), reference.take(right)) for left, right in at.rows]
    return Estimate.mean([estimate("fvd", x, y, units, settings) for x, y in parts])


def _enough(at: Sequence[Arcs], ddof: int) -> bool:
    """Whether every part of every seed has a value."""
    return all(min(len(left), len(right)) > ddof for one in at for left, right in one.rows)


def _point(at: Sequence[Arcs], seeds: Sequence[Sample], reference: Sample, ddof: int, fitted: bool) -> dict[str, Any]:
    values = [
        frechet_from_features(seed.features[left], reference.features[right], ddof)
        for one, seed in zip(at, seeds, strict=True)
        for left, right in one.rows
    ]
    count = float(np.mean([one.count for one in at]))
    return {"n": count, "value": float(np.mean(values)), "subsets": len(at[0].rows), "fitted": fitted}


def _reason(line: Line | None, points: int, dim: int) -> str:
    """Why no value at infinity is given; empty if it is."""
    if line is None:
        need = f"{PARTS[LEAST_POINTS - 1] * PER_FEATURE * dim:.0f}"
        return (
            f"{points} of the points have more than {PER_FEATURE} x {dim} videos (or groups); a line needs "
            f"{LEAST_POINTS}, that is more than {need} videos"
        )
    if line.value.low is None:
        return "no interval: too few videos, or all of one group"
    if abs(line.curvature) > BENT:
        return f"the points do not lie on a line in 1 / n: they bend by {abs(line.curvature):.1f} standard errors"
    return ""


def _told(line: Line) -> dict[str, Any]:
    found = line.value
    told = {name: getattr(found, name) for name in ("value", "low", "high", "level", "words")}
    return {**told, "slope": line.slope, "residual": line.residual, "curvature": line.curvature}
