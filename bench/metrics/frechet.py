"""How far apart are two sets of features when each is summarised by its mean and covariance (FVD)?

    FVD = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)

The last term is the nuclear norm of A B', with A and B the centred features over the root of the divisor
(S1 = A'A, S2 = B'B): a sum of singular values, so it is real, never negative, and exact where the covariances
are singular. Shapes: features (N, D) float64; every function names its own.
Source: Dowson and Landau (1982); Unterthiner et al., arXiv:1812.01717 for video; the leave-out integral below
is the identity tr M^(1/2) - tr M'^(1/2) = (1/pi) int_0^inf log det(u^2 + M)/det(u^2 + M') du.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.statistics import Array, Gaussian, as_features

Rows = NDArray[np.intp]  # the rows of one side that belong to one unit

STEP = 0.5  # of the integral over log u; the trapezoid rule errs by exp(-pi^2 / STEP) = 3e-9 of it
LOWEST, HIGHEST = 1e-9, 1e4  # ends of the integral over u, times the largest singular value
PLAIN = 1e-4  # smallest pivot over the largest above which a covariance may be factored as it is
ROOM = 2**22  # numbers held at once while units are left out


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Frechet distance of two Gaussians; 0 or more. Raises ValueError when D differs.

    The root is the nuclear norm of the product of two factors from symmetric eigendecompositions; eigenvalues
    below rounding are exact zeros, or each would add the root of its rounding error.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"frechet_distance: {len(a.mean)} features against {len(b.mean)}")
    root = nuclear_norm(_factor(a.cov).T @ _factor(b.cov))
    return _combine(a.mean - b.mean, float(np.trace(a.cov) + np.trace(b.cov)), root)


def frechet_from_features(x: ArrayLike, y: ArrayLike, ddof: int = 1) -> float:
    """Squared Frechet distance of features (N, D) and (M, D), covariance divisor N - ddof; 0 or more.

    Raises ValueError when D differs or a side has ddof rows or fewer.
    """
    left, right = _pair(x, y)
    _enough(len(left), len(right), ddof)
    a, b = _triangle(left, ddof), _triangle(right, ddof)
    trace = float(np.sum(a * a) + np.sum(b * b))
    return _combine(left.mean(axis=0) - right.mean(axis=0), trace, nuclear_norm(a @ b.T))


def nuclear_norm(matrix: Array) -> float:
    """Sum of the singular values."""
    return float(np.linalg.svd(matrix, compute_uv=False).sum())


def _combine(step: Array, trace: float, root: float) -> float:
    return max(float(step @ step) + trace - 2.0 * root, 0.0)  # below zero is rounding only


def _factor(cov: Array) -> Array:
    """L (D, r) with cov = L L', r the numerical rank."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(float).eps
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def _triangle(features: Array, ddof: int) -> Array:
    """R (min(N, D), D) of the centred features over sqrt(N - ddof): R'R is their covariance.

    By Cholesky's decomposition where the covariance is far from singular (half the time, equal to 1e-11), else by QR,
    which never forms a covariance.
    """
    centred = features - features.mean(axis=0)
    if len(features) > features.shape[1] > 0:
        try:
            factor = np.linalg.cholesky(centred.T @ centred).T
        except np.linalg.LinAlgError:
            factor = np.zeros_like(centred[:1])
        scale = np.abs(np.diagonal(factor))
        if scale.min() > PLAIN * scale.max():
            return np.asarray(factor) / np.sqrt(len(features) - ddof)
    return np.asarray(np.linalg.qr(centred, mode="r")) / np.sqrt(len(features) - ddof)


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    left = as_features(x, "Frechet distance, first set")
    return left, as_features(y, "Frechet distance, second set", left.shape[1])


def _enough(n: int, m: int, ddof: int) -> None:
    if min(n, m) <= ddof:
        raise ValueError(f"Frechet distance: {n} and {m} features; wanted more than {ddof} on each side")


# ---- leaving units out ----


@dataclass(frozen=True)
class _Side:
    """One set of features, whitened: centred = whitened @ factor.T * sqrt(N - ddof)."""

    mean: Array  # (D,)
    centred: Array  # (N, D)
    whitened: Array  # (N, r), orthonormal columns
    factor: Array  # (D, r), covariance = factor @ factor.T
    square: float  # sum of the squares of `centred`
    ddof: int

    @property
    def count(self) -> int:
        return len(self.centred)


def leave_out(x: ArrayLike, y: ArrayLike, units: Sequence[tuple[Rows, Rows]], ddof: int = 1) -> Array:
    """The distance without each unit in turn, exactly, for all units at the price of about one fit.

    x (N, D), y (M, D); a unit names its rows of x and of y (either may be empty). Returns (len(units),).
    Removing k rows changes a covariance by rank k, and the change of tr (S1 S2)^(1/2) is a one-dimensional
    integral over log-determinants of size k (see `_root_change`). Units with more rows than half the
    dimensions are refitted. Raises ValueError when ddof rows or fewer would remain.
    """
    left, right = _pair(x, y)
    for rows_x, rows_y in units:
        _enough(len(left) - len(rows_x), len(right) - len(rows_y), ddof)
    by_size: dict[int, list[int]] = defaultdict(list)  # padded to a power of two; 0: refitted
    for index, unit in enumerate(units):
        largest = max(map(len, unit))
        by_size[2 ** max(largest - 1, 0).bit_length() if 2 * largest <= left.shape[1] else 0].append(index)
    values = np.empty(len(units))
    sides = (_whiten(left, ddof), _whiten(right, ddof))
    for size, members in by_size.items():
        if size:
            values[members] = _downdate(sides, [units[i] for i in members], size)
        else:
            values[members] = [_refit(left, right, *units[i], ddof) for i in members]
    return values


def _refit(x: Array, y: Array, rows_x: Rows, rows_y: Rows, ddof: int) -> float:
    return frechet_from_features(np.delete(x, rows_x, axis=0), np.delete(y, rows_y, axis=0), ddof)


def _whiten(features: Array, ddof: int) -> _Side:
    mean = features.mean(axis=0)
    centred = features - mean
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    kept = values > (values[0] if len(values) else 0.0) * max(centred.shape) * np.finfo(float).eps
    factor = right[kept].T * (values[kept] / np.sqrt(len(features) - ddof))
    return _Side(mean, centred, left[:, kept], factor, float(np.sum(centred * centred)), ddof)


def _downdate(sides: tuple[_Side, _Side], units: Sequence[tuple[Rows, Rows]], size: int) -> Array:
    """Distances (G,) without each of G units of at most `size` rows on either side."""
    rotation_y, sigma, rotation_x = np.linalg.svd(sides[1].factor.T @ sides[0].factor, full_matrices=False)
    x = _removed(sides[0], [unit[0] for unit in units], size, rotation_x.T)
    y = _removed(sides[1], [unit[1] for unit in units], size, rotation_y)
    roots = np.sqrt(x.scale * y.scale) * (sigma.sum() + _root_change(x.rows, y.rows, sigma))
    offset = sides[0].mean - sides[1].mean - x.step + y.step
    return np.maximum(np.sum(offset**2, axis=1) + x.trace + y.trace - 2.0 * roots, 0.0)


@dataclass(frozen=True)
class _Removed:
    """What G units take away from one side."""

    step: Array  # (G, D), the mean moves by minus this
    trace: Array  # (G,), of the covariance that is left
    scale: Array  # (G,), old divisor over new
    rows: Array  # (G, size, r), whitened and rotated; their squares are what the scatter loses


def _removed(side: _Side, units: Sequence[Rows], size: int, rotation: Array) -> _Removed:
    index, real = np.zeros((len(units), size), dtype=np.intp), np.zeros((len(units), size, 1))
    for place, rows in enumerate(units):
        index[place, : len(rows)], real[place, : len(rows)] = rows, 1.0
    count = real.sum(axis=(1, 2))
    rest = side.count - count
    gone = side.centred[index] * real  # rows of zeros pad the smaller units: they change nothing
    total = gone.sum(axis=1)
    square = side.square - np.sum(gone**2, axis=(1, 2)) - np.sum(total**2, axis=1) / rest
    own = (side.whitened[index] * real).reshape(index.size, side.whitened.shape[1])
    z = (own @ rotation).reshape(*index.shape, rotation.shape[1])
    # (I + 11'/rest)^(1/2) z: the mean of what is left moves too
    beta = (np.sqrt(1.0 + count / rest) - 1.0) / np.maximum(count, 1.0)
    z = z + beta[:, None, None] * real * z.sum(axis=1, keepdims=True)
    divisor = rest - side.ddof
    return _Removed(total / rest[:, None], square / divisor, (side.count - side.ddof) / divisor, z)


def _root_change(p: Array, q: Array, sigma: Array) -> Array:
    """Change (G,) of tr (S1 S2)^(1/2) when S1 loses p (G, k, r) and S2 loses q (G, m, r).

    In the basis where S1 and S2 are both diag(sigma), det(u^2 + S1'S2') / det(u^2 + S1 S2) is the determinant
    of [[I - p w p', -g], [g', I - q w q']] with w = sigma^2 / (u^2 + sigma^2) and g = u p diag(sigma / (u^2 +
    sigma^2)) q'. The integrand in log u falls off as exp(-|log u|) on both sides, so the rest beyond the ends
    is a geometric sum.
    """
    if not len(sigma) or sigma[0] == 0.0:
        return np.zeros(len(p))
    nodes = sigma[0] * np.exp(np.arange(np.log(LOWEST), np.log(HIGHEST), STEP))
    weight = nodes * STEP / np.pi
    weight[[0, -1]] *= 1.0 + 1.0 / np.expm1(STEP)
    fall = sigma / (nodes[:, None] ** 2 + sigma**2)
    own, across = (sigma * fall).T, (nodes[:, None] * fall).T  # (r, U)
    size = (p.shape[1] + q.shape[1]) ** 2 * (len(sigma) + len(nodes))
    at_once = max(1, ROOM // size)
    parts = [(p[i : i + at_once], q[i : i + at_once]) for i in range(0, len(p), at_once)]
    return np.concatenate([_log_determinants(x, y, own, across) @ weight for x, y in parts])


def _log_determinants(p: Array, q: Array, own: Array, across: Array) -> Array:
    """log det of the matrix in `_root_change`, (G, U), for weights w (r, U) and those of g (r, U)."""
    k, m = p.shape[1], q.shape[1]

    def products(a: Array, b: Array, weights: Array) -> Array:  # a diag(weights) b', at every node at once
        pairs = a[:, :, None] * b[:, None]
        flat = pairs.reshape(-1, pairs.shape[-1]) @ weights  # one large product: many small ones keep threads waiting
        return np.moveaxis(flat.reshape(*pairs.shape[:-1], -1), 3, 1)

    block = np.empty((len(p), own.shape[1], k + m, k + m))
    block[:, :, :k, :k] = np.eye(k) - products(p, p, own)
    block[:, :, k:, k:] = np.eye(m) - products(q, q, own)
    cross = products(p, q, across)
    block[:, :, :k, k:], block[:, :, k:, :k] = -cross, cross.swapaxes(2, 3)
    return np.asarray(np.maximum(np.linalg.slogdet(block)[1], -700.0))
