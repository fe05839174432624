"""Which number does other public code print as the Frechet distance of the same features?

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)

is one formula; its last term has been computed in five ways, which part where covariances are singular (N <= D) or
single precision is used. `bench.metrics.frechet` is the stable one, and what our own protocols use; the others are
here so that a published number can be made again, errors included. Shapes: x (N, D), y (M, D), any real type. None of
these is forced to be 0 or more: their errors have either sign.
Source: each function names the code that computes so; written anew from the formula and that code's order of steps.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.frechet import frechet_from_features
from bench.metrics.statistics import Array, as_features

Root = Callable[[ArrayLike, ArrayLike, int], float]
Rows = NDArray[np.floating]

TINY = 1e-10  # TF-GAN: the root of a singular value below this is the value itself


def by_nuclear_norm(x: ArrayLike, y: ArrayLike, ddof: int = 1) -> float:
    """The stable form, float64: a sum of singular values; 0 or more, exact where covariances are singular."""
    return frechet_from_features(x, y, ddof)


def by_sqrtm(x: ArrayLike, y: ArrayLike, ddof: int = 0) -> float:
    """tr of scipy's matrix square root of S1 S2, real part, float64: StyleGAN-V, cd-fvd (N), common_metrics (N - 1).

    Up to 1e-2 below the stable form where a covariance is singular.
    """
    first, second = _pair(x, y, ddof)
    root = matrix_root(_covariance(first, ddof) @ _covariance(second, ddof))
    return _combine(first, second, ddof, float(np.trace(root).real))


def by_eigenvalues(x: ArrayLike, y: ArrayLike, ddof: int = 1) -> float:
    """Sum of the roots of the eigenvalues of S1 S2, real part: torch-fidelity, torchmetrics (N - 1).

    Up to 1e-2 below the stable form where a covariance is singular.
    """
    first, second = _pair(x, y, ddof)
    values = np.linalg.eigvals(_covariance(first, ddof) @ _covariance(second, ddof))
    return _combine(first, second, ddof, float(np.sqrt(values.astype(complex)).real.sum()))


def by_svd(x: ArrayLike, y: ArrayLike, ddof: int = 1) -> float:
    """tr (S1^(1/2) S2 S1^(1/2))^(1/2) with roots from SVDs, float64: TF-GAN (N - 1).

    The answer is rounded to single precision when the features come so, as TF-GAN's is.
    """
    given = _pair(x, y, ddof)
    first, second = (rows.astype(np.float64) for rows in given)
    left = _svd_root(_covariance(first, ddof))
    root = _svd_root(left @ (_covariance(second, ddof) @ left))
    value = _combine(first, second, ddof, float(np.trace(root)))
    return float(np.float32(value)) if given[0].dtype == np.float32 else value


def _by_svd_of_singles(x: ArrayLike, y: ArrayLike, ddof: int) -> float:
    return by_svd(np.asarray(x, np.float32), np.asarray(y, np.float32), ddof)


def by_float32_svd(x: ArrayLike, y: ArrayLike, ddof: int = 1) -> float:
    """`by_svd` in single precision throughout, by torch: VideoGPT, TATS, LVDM, DIGAN as released (N - 1).

    Small eigenvalues drown in rounding: 5 % too high on strongly correlated features, 28 for two identical sets. How
    rounding falls depends on the order of x and y, on torch's linear algebra library, the processor and the number of
    threads (457.5 became 475 to 484), so one thread is used; between machines about 3e-4 of tr S1 + tr S2 remains.
    """
    import torch

    first, second = (torch.from_numpy(np.array(rows, np.float32)) for rows in _pair(x, y, ddof))

    def covariance(rows: torch.Tensor) -> torch.Tensor:
        centred = rows.t() - rows.t().mean(1, keepdim=True)
        return (1.0 / (len(rows) - ddof)) * (centred @ centred.t())

    def root(matrix: torch.Tensor) -> torch.Tensor:
        left, values, right = torch.svd(matrix)
        return left @ torch.diag(torch.where(values < TINY, values, values.sqrt())) @ right.t()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one, two = covariance(first), covariance(second)
        half = root(one)
        trace = torch.trace(one + two) - 2.0 * torch.trace(root(half @ (two @ half)))
        return float(trace + ((first.mean(0) - second.mean(0)) ** 2).sum())
    finally:
        torch.set_num_threads(threads)


ROOTS: dict[str, Root] = {  # by the name that a protocol's field `covariance_root` has
    "nuclear norm": by_nuclear_norm,
    "sqrtm": by_sqrtm,
    "eigenvalues": by_eigenvalues,
    "svd": _by_svd_of_singles,
    "float32 svd": by_float32_svd,
}
SMOOTH = ("nuclear norm", "sqrtm", "eigenvalues", "svd")  # equal but for rounding: they move alike when a video goes


def frechet_by(root: str, x: ArrayLike, y: ArrayLike, ddof: int) -> float:
    """The distance of x (N, D) and y (M, D) by a root of ROOTS; ValueError names the known ones."""
    if root not in ROOTS:
        raise ValueError(f"frechet_by: root is {root!r}; known: {', '.join(ROOTS)}")
    return ROOTS[root](x, y, ddof)


def matrix_root(matrix: Array) -> NDArray[np.inexact]:
    """scipy's square root of a matrix, whatever the version: since 1.18 it can no longer be asked to be quiet."""
    from scipy import linalg

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # "Matrix is singular": so it is, and its trace is all that is asked for
        return np.asarray(linalg.sqrtm(matrix))


def _pair(x: ArrayLike, y: ArrayLike, ddof: int) -> tuple[Rows, Rows]:
    """Both sets in the precision in which they came (a mean of float32 rows is float32 in the code followed here)."""
    width = as_features(x, "Frechet distance, first set").shape[1]
    as_features(y, "Frechet distance, second set", width)
    first, second = (_floating(side) for side in (x, y))
    if min(len(first), len(second)) <= ddof:
        raise ValueError(f"Frechet distance: {len(first)} and {len(second)} features; wanted more than {ddof} each")
    return first, second


def _floating(side: ArrayLike) -> Rows:
    rows = np.asarray(side)
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)


def _covariance(rows: Rows, ddof: int) -> Array:
    """(D, D) float64, divisor N - ddof; the rows are centred in float64."""
    return np.atleast_2d(np.cov(rows, rowvar=False, ddof=ddof))


def _combine(first: Rows, second: Rows, ddof: int, root: float) -> float:
    step = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    trace = np.trace(_covariance(first, ddof)) + np.trace(_covariance(second, ddof))
    return float(step + trace - 2.0 * root)


def _svd_root(matrix: Array) -> Array:
    left, values, right = np.linalg.svd(matrix)
    roots = np.where(values < TINY, values, np.sqrt(values))
    return np.asarray((left * roots) @ right)
