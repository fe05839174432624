"""Does the motion that the prompt asks for happen? The tiny world alone can tell: its classifier names the motion.

    MOTION AS ASKED = share of videos in which the classifier sees the motion that the prompt names

Shapes: one number per video (N,), 1.0 or 0.0. Given only where every prompt is a sentence of the procedural world and
that world's classifier looked: the true motion of real videos is nobody's to know, so there is no such number for them.
Source: ours; the paper measures the similarity of CLIP embeddings (arXiv:2310.12190, motion control using text).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.metrics.statistics import Array
from datasets.procedural import asked_motion


def per_video(seen: Sequence[str], prompts: Sequence[str | None]) -> Array | None:
    """1.0 where the motion that was seen is the one that the prompt asks for, else 0.0; None where that has no meaning.

    Raises ValueError when there are not as many prompts as videos.
    """
    if len(seen) != len(prompts):
        raise ValueError(f"motion as asked: {len(seen)} motions seen, {len(prompts)} prompts; wanted as many of each")
    asked = [asked_motion(prompt or "") for prompt in prompts]
    if not asked or any(motion is None for motion in asked):
        return None
    return np.array([float(a == s) for a, s in zip(asked, seen, strict=True)])
