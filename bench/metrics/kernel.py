"""How far apart are two sets of features under a polynomial kernel (KVD)?

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),   k(x, y) = (gamma x.y + coef0)^degree

Unbiased: pairs of a feature with itself are dropped from the first two means; the result may be negative and
is kept so. Shapes: x (N, D), y (M, D) float64. Memory: blocks of BLOCK x BLOCK kernel values, however large N
is. Source: Gretton et al. (2012), lemma 6; Binkowski et al., arXiv:1801.01401 for the kernel; degree 3, gamma
1/D, coef0 1 on all samples is what the public code of TATS and LVDM prints as KVD.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.frechet import Rows
from bench.metrics.statistics import Array, as_features

BLOCK = 512  # rows of a block of kernel values: fixed, so that sums are always formed in the same order
ESTIMATORS = ("unbiased", "biased", "u_statistic")


@dataclass(frozen=True)
class Polynomial:
    """The kernel (gamma x.y + coef0)^degree; gamma None: 1 / D."""

    degree: int = 3
    gamma: float | None = None
    coef0: float = 1.0

    def __call__(self, x: Array, y: Array) -> Array:
        """Kernel values (N, M) of x (N, D) and y (M, D)."""
        gamma = 1.0 / x.shape[1] if self.gamma is None else self.gamma
        return self._power(gamma * (x @ y.T) + self.coef0)

    def diagonal(self, x: Array, y: Array) -> Array:
        """Kernel values (N,) of row i of x and row i of y, both (N, D)."""
        gamma = 1.0 / x.shape[1] if self.gamma is None else self.gamma
        return self._power(gamma * np.einsum("nd,nd->n", x, y) + self.coef0)

    def _power(self, base: Array) -> Array:
        value = base
        for _ in range(self.degree - 1):  # faster than ** and the same everywhere
            value = value * base
        return value


CUBIC = Polynomial()


@dataclass(frozen=True)
class KernelSums:
    """Row sums of the three kernel matrices, the diagonals left out of the first two."""

    x: Array  # (N,) sum over j != i of k(x_i, x_j)
    y: Array  # (M,) sum over j != i of k(y_i, y_j)
    x_to_y: Array  # (N,) sum over j of k(x_i, y_j)
    y_to_x: Array  # (M,)
    diagonal_x: Array  # (N,) k(x_i, x_i)
    diagonal_y: Array  # (M,)


def kernel_distance(x: ArrayLike, y: ArrayLike, estimator: str = "unbiased", kernel: Polynomial = CUBIC) -> float:
    """KVD of features x (N, D) and y (M, D) from all samples, unscaled; negative values are kept.

    `unbiased` averages k(x, y) over all N * M pairs, `u_statistic` leaves out i = j there too (equal N),
    `biased` leaves out nothing. Raises ValueError for an unknown estimator, unequal D, or too few features.
    """
    left, right = matching(x, y)
    if estimator not in ESTIMATORS:
        raise ValueError(f"kernel_distance: estimator is {estimator!r}; known: {', '.join(ESTIMATORS)}")
    n, m = len(left), len(right)
    if min(n, m) < (1 if estimator == "biased" else 2):
        raise ValueError(f"kernel_distance: {n} and {m} features; wanted 2 or more on each side")
    sums = kernel_sums(left, right, kernel)
    if estimator == "biased":
        within_x, within_y = sums.x.sum() + sums.diagonal_x.sum(), sums.y.sum() + sums.diagonal_y.sum()
        return float(within_x / n**2 + within_y / m**2 - 2 * sums.x_to_y.sum() / (n * m))
    if estimator == "unbiased":
        return unbiased(sums)
    within = sums.x.sum() / (n * (n - 1)) + sums.y.sum() / (m * (m - 1))
    if n != m:
        raise ValueError(f"kernel_distance: u_statistic pairs item by item; {n} and {m} features came")
    across = sums.x_to_y.sum() - kernel.diagonal(left, right).sum()
    return float(within - 2 * across / (n * (n - 1)))


def unbiased(sums: KernelSums) -> float:
    """The unbiased KVD from row sums of 2 or more features on each side."""
    n, m = len(sums.x), len(sums.y)
    within = sums.x.sum() / (n * (n - 1)) + sums.y.sum() / (m * (m - 1))
    return float(within - 2 * sums.x_to_y.sum() / (n * m))


def kernel_sums(x: Array, y: Array, kernel: Polynomial = CUBIC) -> KernelSums:
    """All row sums of x (N, D) and y (M, D), block by block."""
    x_to_y, y_to_x = _sums(x, y, kernel)
    diagonal_x, diagonal_y = kernel.diagonal(x, x), kernel.diagonal(y, y)
    return KernelSums(
        x=_sums(x, x, kernel)[0] - diagonal_x,
        y=_sums(y, y, kernel)[0] - diagonal_y,
        x_to_y=x_to_y,
        y_to_x=y_to_x,
        diagonal_x=diagonal_x,
        diagonal_y=diagonal_y,
    )


def _sums(x: Array, y: Array, kernel: Polynomial) -> tuple[Array, Array]:
    rows, columns = np.zeros(len(x)), np.zeros(len(y))
    for i in range(0, len(x), BLOCK):
        for j in range(0, len(y), BLOCK):
            values = kernel(x[i : i + BLOCK], y[j : j + BLOCK])
            rows[i : i + BLOCK] += values.sum(axis=1)
            columns[j : j + BLOCK] += values.sum(axis=0)
    return rows, columns


class Readable(Protocol):
    """Features (N, D) in a file or elsewhere, read a block at a time (`bench.metrics.rowfile.RowReader`)."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Array:
        """Rows start..stop."""
        ...


def streamed_distance(x: Readable, y: Readable, kernel: Polynomial = CUBIC) -> float:
    """The unbiased KVD of features that need not fit into memory, which holds two blocks of each side at a time.

    Raises ValueError as `kernel_distance` does.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"streamed_distance: {n} and {m} features; wanted 2 or more on each side")
    within = _within(x, kernel) / (n * (n - 1)) + _within(y, kernel) / (m * (m - 1))
    pairs = ((a, b) for _, a in _blocks(x) for _, b in _blocks(y))
    across = math.fsum(float(kernel(*matching(a, b)).sum()) for a, b in pairs)
    return float(within - 2 * across / (n * m))


def _within(x: Readable, kernel: Polynomial) -> float:
    """The sum over i != j, each pair of blocks once."""
    parts = []
    for start, block in _blocks(x):
        own = as_features(block, "streamed_distance")
        values = kernel(own, own)
        parts.append(float(values.sum() - np.trace(values)))
        parts += [
            2 * float(kernel(own, as_features(b, "streamed_distance")).sum()) for _, b in _blocks(x, start + BLOCK)
        ]
    return math.fsum(parts)


def _blocks(x: Readable, start: int = 0) -> Iterator[tuple[int, Array]]:
    for first in range(start, len(x), BLOCK):
        yield first, x.read(first, first + BLOCK)


def leave_out(
    x: ArrayLike,
    y: ArrayLike,
    units: Sequence[tuple[Rows, Rows]],
    kernel: Polynomial = CUBIC,
    sums: KernelSums | None = None,
) -> Array:
    """The unbiased KVD without each unit in turn, exactly; (len(units),).

    A unit names its rows of x and of y (either may be empty); `sums` spares computing them again.
    Raises ValueError when fewer than 2 features of a side would remain.
    """
    left, right = matching(x, y)
    s = kernel_sums(left, right, kernel) if sums is None else sums
    totals = s.x.sum(), s.y.sum(), s.x_to_y.sum()
    values = np.empty(len(units))
    for index, (a, b) in enumerate(units):
        n, m = len(left) - len(a), len(right) - len(b)
        if min(n, m) < 2:
            raise ValueError(f"kernel leave_out: {n} and {m} features would remain; wanted 2 or more")
        own_x = kernel(left[a], left[a]).sum() - s.diagonal_x[a].sum()
        own_y = kernel(right[b], right[b]).sum() - s.diagonal_y[b].sum()
        within_x = totals[0] - 2 * s.x[a].sum() + own_x
        within_y = totals[1] - 2 * s.y[b].sum() + own_y
        across = totals[2] - s.x_to_y[a].sum() - s.y_to_x[b].sum() + kernel(left[a], right[b]).sum()
        values[index] = within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)
    return values


def matching(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Both sets as float64 (N, D) and (M, D); ValueError when they are not, or D differs."""
    left = as_features(x, "kernel distance, first set")
    return left, as_features(y, "kernel distance, second set", left.shape[1])
