"""Does a clip stay the same scene from one frame to the next?

    consistency = mean over t of cos(e_t, e_{t+1})

of the embeddings of consecutive frames, in [-1, 1], 1 for a frozen clip: only a clip that also moves
(`bench.metrics.motion`) earns anything by it. Shapes: embeddings (N, T, E) of any image network; result (N,).
Source: frame consistency of Gen-1, arXiv:2302.03011, there with CLIP embeddings. Subject and background consistency
of VBench, arXiv:2311.17982, are this averaged with the cosine to the first frame, of DINO and CLIP.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.statistics import Array


def temporal_consistency(embeddings: ArrayLike) -> Array:
    """Mean cosine of consecutive frames (N,) from embeddings (N, T, E); an embedding of length 0 has cosine 0.

    Raises ValueError for other shapes, fewer than 2 frames, or values that are not finite.
    """
    values = as_embeddings(embeddings, "temporal_consistency")
    if values.shape[1] < 2:
        raise ValueError(f"temporal_consistency: clips of {values.shape[1]} frames; wanted 2 or more")
    return np.asarray(cosine(values[:, :-1], values[:, 1:]).mean(axis=1))


def cosine(a: Array, b: Array) -> Array:
    """cos(a, b) along the last axis, in [-1, 1]; 0 where one of them has length 0."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray(np.sum(a * b, axis=-1) / np.maximum(lengths, np.finfo(float).tiny))


def as_embeddings(values: ArrayLike, where: str) -> Array:
    """`values` as float64 (N, T, E); ValueError when they are not, or one is not finite."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 3:
        raise ValueError(f"{where}: embeddings of shape {found.shape}; wanted (N, T, E)")
    if not np.isfinite(found).all():
        bad = np.flatnonzero(~np.isfinite(found).all(axis=(1, 2)))
        raise ValueError(f"{where}: not finite in clip {bad[0]} ({len(bad)} of {len(found)} clips)")
    return found
