"""What are the mean and covariance of features that arrive in pieces?

Shapes: features are (N, D), any real type, taken as float64; the mean is (D,), the covariance (D, D).
Source: the pairwise update of Chan, Golub and LeVeque (1983), which does not cancel when the mean is large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

BLOCK = 256  # rows folded at once: fixed, so that the bytes do not depend on how the rows were handed over


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and covariance (D, D) of `count` features, float64."""

    mean: Array
    cov: Array
    count: int | None = None  # None: not estimated from samples

    def __post_init__(self) -> None:
        dim = len(self.mean)
        if self.mean.shape != (dim,) or self.cov.shape != (dim, dim):
            raise ValueError(
                f"Gaussian: mean {self.mean.shape} and covariance {self.cov.shape} do not fit; wanted (D,) and (D, D)"
            )


class Statistics:
    """Count, mean and scatter of a stream of features; memory is D x D, however many arrive.

    The rows are folded in blocks of a fixed size in the order of their arrival, so the same rows in the same
    order give the same bytes in any batch size. `merge` agrees with any other order of merging to rounding.
    """

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"Statistics: dim is {dim}; wanted a number of features of 1 or more")
        self.dim = dim
        self._count = 0
        self._mean = np.zeros(dim)
        self._scatter = np.zeros((dim, dim))  # sum of (x - mean)(x - mean)'
        self._waiting: list[Array] = []  # rows that do not fill a block yet

    @property
    def count(self) -> int:
        """Number of features seen."""
        return self._count + sum(len(rows) for rows in self._waiting)

    def update(self, features: ArrayLike) -> Statistics:
        """Adds features (N, D). Raises ValueError when the shape is wrong or a value is not finite."""
        rows = as_features(features, "Statistics.update", self.dim)
        waiting = np.concatenate([*self._waiting, rows])  # a copy: the caller may overwrite its rows
        full = len(waiting) - len(waiting) % BLOCK
        for start in range(0, full, BLOCK):
            self._fold_rows(waiting[start : start + BLOCK])
        self._waiting = [waiting[full:]]
        return self

    def merge(self, other: Statistics) -> Statistics:
        """Adds all that `other` has seen; `other` is left as it was."""
        if other.dim != self.dim:
            raise ValueError(f"Statistics.merge: features of {other.dim} dimensions into {self.dim}")
        part = other._folded()
        whole = self._folded()
        whole._fold(part._count, part._mean, part._scatter)
        self._count, self._mean, self._scatter = whole._count, whole._mean, whole._scatter
        self._waiting = []
        return self

    def gaussian(self, ddof: int = 1) -> Gaussian:
        """Mean and covariance with divisor N - ddof. Raises ValueError when N <= ddof."""
        if ddof not in (0, 1):
            raise ValueError(f"Statistics.gaussian: ddof is {ddof}; known: 0 (divisor N), 1 (divisor N - 1)")
        whole = self._folded()
        if whole._count <= ddof:
            raise ValueError(f"Statistics.gaussian: {whole._count} features; wanted more than {ddof}")
        return Gaussian(whole._mean.copy(), whole._scatter / (whole._count - ddof), whole._count)

    def _folded(self) -> Statistics:
        """A copy in which no row is waiting."""
        copy = Statistics(self.dim)
        copy._fold(self._count, self._mean, self._scatter)
        for rows in self._waiting:
            copy._fold_rows(rows)
        return copy

    def _fold_rows(self, rows: Array) -> None:
        if len(rows):
            mean = rows.mean(axis=0)
            centred = rows - mean
            self._fold(len(rows), mean, centred.T @ centred)

    def _fold(self, count: int, mean: Array, scatter: Array) -> None:
        total = self._count + count
        if count == 0:
            return
        step = mean - self._mean
        self._scatter = self._scatter + scatter + np.outer(step, step) * (self._count * count / total)
        self._mean = self._mean + step * (count / total)
        self._count = total


def as_features(features: ArrayLike, where: str, dim: int | None = None) -> Array:
    """`features` as float64 (N, D). Raises ValueError when they are not, or when a value is not finite."""
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or (dim is not None and rows.shape[1] != dim):
        raise ValueError(f"{where}: features of shape {rows.shape}; wanted (N, {'D' if dim is None else dim})")
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        raise ValueError(f"{where}: not finite in row {bad[0]} ({len(bad)} of {len(rows)} rows)")
    return rows
