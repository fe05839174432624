"""Which number does other public code print as the kernel distance of the same features?

`bench.metrics.kernel` has the estimate from all samples, float64, that our own protocols use. Public code also prints
it in single precision, or averaged over random subsets or consecutive blocks; all are here, so that a published number
can be made again. Shapes: real (N, D), fake (M, D); unscaled (NVIDIA's code multiplies by 1000, nobody else does).
Source: each function names the code that computes so; written anew from the formula and that code's order of draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.kernel import BLOCK, CUBIC, Polynomial, kernel_distance, matching
from bench.metrics.statistics import Array

Single = NDArray[np.float32]


@dataclass(frozen=True)
class Average:
    """Estimates of several parts of the samples, (P,)."""

    parts: Array

    @property
    def mean(self) -> float:
        """What is printed as the score."""
        return float(self.parts.mean())

    @property
    def deviation(self) -> float:
        """Population standard deviation over the parts, as KID is printed with."""
        return float(self.parts.std())

    @property
    def error(self) -> float | None:
        """Standard error of the mean over the parts, as TF-GAN prints; None for one part."""
        count = len(self.parts)
        return float(self.parts.std(ddof=1) / count**0.5) if count > 1 else None


def single_precision(x: ArrayLike, y: ArrayLike, kernel: Polynomial = CUBIC) -> float:
    """The unbiased estimate from all samples, in single precision: TATS and LVDM, whose kernel is scikit-learn's.

    Kernel values and sums are float32, block by block. Raises ValueError as `kernel_distance`.
    """
    left, right = (side.astype(np.float32) for side in matching(x, y))
    n, m = len(left), len(right)
    if min(n, m) < 2:
        raise ValueError(f"single_precision: {n} and {m} features; wanted 2 or more on each side")
    within = [_total(one, one, kernel) - _total_diagonal(one, kernel) for one in (left, right)]
    across = _total(left, right, kernel) / np.float32(n * m)
    return float(within[0] / np.float32(n * (n - 1)) + within[1] / np.float32(m * (m - 1)) - np.float32(2) * across)


def _total(x: Single, y: Single, kernel: Polynomial) -> np.float32:
    blocks = [(x[i : i + BLOCK], y[j : j + BLOCK]) for i in range(0, len(x), BLOCK) for j in range(0, len(y), BLOCK)]
    return np.float32(sum(float(_values(a, b, kernel).sum(dtype=np.float32)) for a, b in blocks))


def _total_diagonal(x: Single, kernel: Polynomial) -> np.float32:
    parts = [np.diagonal(_values(x[i : i + BLOCK], x[i : i + BLOCK], kernel)) for i in range(0, len(x), BLOCK)]
    return np.float32(sum(float(part.sum(dtype=np.float32)) for part in parts))


def _values(x: Single, y: Single, kernel: Polynomial) -> Single:
    gamma = 1.0 / x.shape[1] if kernel.gamma is None else kernel.gamma
    return np.asarray((x @ y.T * np.float32(gamma) + np.float32(kernel.coef0)) ** kernel.degree)


def subset_distances(
    real: ArrayLike,
    fake: ArrayLike,
    subsets: int,
    size: int,
    rng: np.random.RandomState,
    fake_first: bool = False,
    kernel: Polynomial = CUBIC,
    single: bool = False,
) -> Array:
    """Unbiased estimates (subsets,) of random subsets of `size` without replacement, real drawn before fake.

    Their mean and population deviation are torch-fidelity's KID; `fake_first` draws in the order of the StyleGAN code
    (which multiplies by 1000). Raises ValueError when a side has fewer than `size` features.
    """
    left, right = matching(real, fake)
    _large_enough(left, right, size)

    def draws() -> Iterator[tuple[Array, Array]]:
        for _ in range(subsets):
            first, second = (right, left) if fake_first else (left, right)
            a = first[rng.choice(len(first), size, replace=False)]
            yield a, second[rng.choice(len(second), size, replace=False)]

    return _estimates(draws(), kernel, single)


def torchmetrics_subsets(
    real: ArrayLike, fake: ArrayLike, subsets: int, size: int, seed: int, kernel: Polynomial = CUBIC
) -> Array:
    """Unbiased estimates (subsets,) of the subsets that torchmetrics draws after `torch.manual_seed(seed)`.

    Raises ValueError when a side has fewer than `size` features.
    """
    import torch

    left, right = matching(real, fake)
    _large_enough(left, right, size)
    generator = torch.Generator().manual_seed(seed)

    def draws() -> Iterator[tuple[Array, Array]]:
        for _ in range(subsets):
            a, b = (side[torch.randperm(len(side), generator=generator)[:size].numpy()] for side in (left, right))
            yield a, b

    return _estimates(draws(), kernel, False)


def block_distances(
    real: ArrayLike, fake: ArrayLike, max_block: int = 1024, kernel: Polynomial = CUBIC, single: bool = False
) -> Array:
    """Unbiased estimates of consecutive near-equal blocks of at most `max_block` features, as TF-GAN splits them.

    Their mean is TF-GAN's KID; the order of the features must be random. Features are not shuffled here.
    """
    left, right = matching(real, fake)
    blocks = -(-max(len(left), len(right)) // max_block)
    return _estimates(zip(split(left, blocks), split(right, blocks), strict=True), kernel, single)


def split(rows: Array, blocks: int) -> list[Array]:
    """Near-equal consecutive parts, the smaller ones first."""
    sizes = np.full(blocks, len(rows) // blocks)
    sizes[blocks - len(rows) % blocks :] += 1
    return np.split(rows, np.cumsum(sizes)[:-1])


def _estimates(pairs: Iterator[tuple[Array, Array]], kernel: Polynomial, single: bool) -> Array:
    distance: Callable[..., float] = single_precision if single else kernel_distance
    return np.array([distance(a, b, kernel=kernel) for a, b in pairs])


def _large_enough(left: Array, right: Array, size: int) -> None:
    if size > min(len(left), len(right)):
        raise ValueError(f"subset_distances: size {size} of {len(left)} and {len(right)} features")
