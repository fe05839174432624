"""By which public form are FVD and KVD computed, and what does one video contribute to it?

A form has a value, which is printed, and a smooth base, whose value without some videos is known exactly. They are the
same number for our own forms, and equal but for rounding for most others; where they are not, the interval of the base
is moved to the value (`moved` in `bench.metrics.uncertainty.Estimate`), which is said beside it.
Shapes: x (N, D) generated, y (M, D) real, float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics import averages, frechet, kernel, roots
from bench.metrics.frechet import Rows
from bench.metrics.kernel import Polynomial
from bench.metrics.statistics import Array

Units = Sequence[tuple[Rows, Rows]]
BLOCK = 1024  # features in a block of TF-GAN's average, at most
ROUNDED = (  # forms that see the order of the rows: they are given one that depends on the ids of the videos alone
    *("float32 svd", "unbiased, float32", "blocks of 1024, float32", "100 subsets of 1000, float32"),
)
SUBSETS, SUBSET = 100, 1000  # of the average of NVIDIA's KID code: how many, of how many features at most


@dataclass(frozen=True)
class Form:
    """A value as a form prints it, and the base that its interval is made from."""

    value: float
    base: float
    leave_out: Callable[[Units], Array]  # the base without each of some units


def frechet_form(x: Array, y: Array, root: str, ddof: int) -> Form:
    """FVD by a root of `bench.metrics.roots`; the base is the stable form with the same divisor."""
    base = frechet.frechet_from_features(x, y, ddof)
    value = base if root == "nuclear norm" else roots.frechet_by(root, x, y, ddof)
    return Form(value, base, lambda units: frechet.leave_out(x, y, units, ddof))


def kernel_form(x: Array, y: Array, estimator: str, cubic: Polynomial, scale: float) -> Form:
    """KVD by an estimator of ESTIMATORS, times `scale`. The base is the unbiased estimate from all samples; the
    average of blocks is its own base, for it scatters more.
    """
    if estimator == "blocks of 1024, float32":
        return _blocks(x, y, cubic, scale)
    sums = kernel.kernel_sums(x, y, cubic)
    base = kernel.unbiased(sums)
    value = base if estimator == "unbiased" else ESTIMATORS[estimator](x, y, cubic)
    return Form(scale * value, scale * base, lambda units: scale * kernel.leave_out(x, y, units, cubic, sums))


def _subsets(x: Array, y: Array, cubic: Polynomial) -> float:
    size, draw = min(len(x), len(y), SUBSET), np.random.RandomState(0)
    parts = averages.subset_distances(y, x, SUBSETS, size, draw, fake_first=True, kernel=cubic, single=True)
    return float(parts.mean())


ESTIMATORS: dict[str, Callable[[Array, Array, Polynomial], float]] = {  # as a protocol's `kvd_estimator` names them
    "unbiased": lambda x, y, k: kernel.kernel_distance(x, y, "unbiased", k),
    "biased": lambda x, y, k: kernel.kernel_distance(x, y, "biased", k),
    "u_statistic": lambda x, y, k: kernel.kernel_distance(x, y, "u_statistic", k),
    "unbiased, float32": averages.single_precision,
    "100 subsets of 1000, float32": _subsets,
    "blocks of 1024, float32": lambda x, y, k: float(averages.block_distances(y, x, BLOCK, k, single=True).mean()),
}


def _blocks(x: Array, y: Array, cubic: Polynomial, scale: float) -> Form:
    """The mean over consecutive blocks; a unit is left out of the blocks that it is in, whose bounds stay."""
    count = -(-max(len(x), len(y)) // BLOCK)
    edges = [_edges(len(side), count) for side in (x, y)]
    parts = [(x[a:b], y[c:d]) for (a, b), (c, d) in zip(*edges, strict=True)]
    sums = [kernel.kernel_sums(one, other, cubic) for one, other in parts]
    values = np.array([kernel.unbiased(one) for one in sums])

    def leave_out(units: Units) -> Array:
        left = np.full(len(units), values.mean())
        for block, ((a, b), (c, d)) in enumerate(zip(*edges, strict=True)):
            own = [(_within(rows, a, b), _within(others, c, d)) for rows, others in units]
            touched = [index for index, (rows, others) in enumerate(own) if len(rows) + len(others)]
            without = kernel.leave_out(*parts[block], [own[i] for i in touched], cubic, sums[block])
            left[touched] += (without - values[block]) / count
        return scale * left

    return Form(scale * ESTIMATORS["blocks of 1024, float32"](x, y, cubic), scale * float(values.mean()), leave_out)


def _edges(length: int, count: int) -> list[tuple[int, int]]:
    """First and last row (exclusive) of each block."""
    ends = np.cumsum([len(part) for part in averages.split(np.zeros((length, 1)), count)])
    return [(int(end) - size, int(end)) for end, size in zip(ends, np.diff(ends, prepend=0), strict=True)]


def _within(rows: Rows, start: int, end: int) -> Rows:
    """The rows of a block, counted from its start."""
    return rows[(rows >= start) & (rows < end)] - start
