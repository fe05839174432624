"""Does a clip show what its prompt says?

    alignment = 100 * mean over frames of cos(image embedding, text embedding)

of a pair of encoders trained to agree (CLIP), in [-100, 100], never clipped at 0; published videos have about 25 to 30
under CLIP. Another pair of encoders has another scale: compare within one pair only.
Shapes: image (N, T, E), text (N, E); result (N,).
Source: CLIPSIM of GODIVA, arXiv:2104.14806: the mean over frames; times 100, as tables of CLIP scores have it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.consistency import as_embeddings, cosine
from bench.metrics.statistics import Array, as_features


def text_alignment(image: ArrayLike, text: ArrayLike) -> Array:
    """Alignment (N,) of frames (N, T, E) with prompts (N, E); an embedding of length 0 has cosine 0.

    Raises ValueError for other shapes, clips without frames, or values that are not finite.
    """
    frames = as_embeddings(image, "text_alignment")
    prompts = as_features(text, "text_alignment, prompts", frames.shape[2])
    if len(prompts) != len(frames) or frames.shape[1] == 0:
        raise ValueError(f"text_alignment: {frames.shape} and {len(prompts)} prompts; wanted as many, and frames")
    return np.asarray(100.0 * cosine(frames, prompts[:, None]).mean(axis=1))
