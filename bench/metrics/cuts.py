"""Does a story stay in its world when it cuts from one shot to the next?

    cut consistency = mean over cuts k of cos(e(last frame of shot k), e(first frame of shot k + 1))

of the embeddings e of an image network (CLIP), in [-1, 1]; 1 for a cut that nobody sees, as where a shot goes on from
the last frame of the one before. Read it beside the same cosine between neighbouring frames inside the shots
(`bench.metrics.consistency`): that is what no cut looks like.
Shapes: embeddings of shot k (T_k, E), shots may differ in length; results float64.
Source: ours; the cosine between frames is the frame consistency of Gen-1, arXiv:2302.03011.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.consistency import as_embeddings, cosine
from bench.metrics.statistics import Array


def cut_consistencies(shots: Sequence[ArrayLike]) -> Array:
    """The cosine across each cut (K - 1,) of K shots' embeddings (T_k, E); empty for one shot.

    Raises ValueError for a shot without frames, other shapes, or values that are not finite.
    """
    found = [_of_shot(shot, k) for k, shot in enumerate(shots)]
    return np.array([float(cosine(a[-1], b[0])) for a, b in pairwise(found)])


def step_consistencies(shots: Sequence[ArrayLike]) -> Array:
    """The cosine of all neighbouring frames inside the shots, (sum of T_k - 1,). Raises ValueError as above."""
    found = [_of_shot(shot, k) for k, shot in enumerate(shots)]
    return np.concatenate([np.zeros(0), *(cosine(shot[:-1], shot[1:]) for shot in found)])


def _of_shot(embeddings: ArrayLike, number: int) -> Array:
    values = np.asarray(embeddings, dtype=np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"cuts: shot {number} has embeddings of shape {values.shape}; wanted (T, E), T from 1")
    return as_embeddings(values[None], f"cuts: shot {number}")[0]
