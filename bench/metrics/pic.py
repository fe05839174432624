"""How well does a clip conform to the image it was made from (PIC)?

    PIC = mean over videos of mean over frames of (1 - D(input image, frame))

D is the distance of a perceptual network (DreamSim in the paper). Shapes: conformity (N, T) holds 1 - D,
frame by frame. Whether frame 0, which is asked to equal the input, counts is not documented anywhere: it is a
field of the protocol. Source: DynamiCrafter, arXiv:2310.12190, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.frechet import Rows
from bench.metrics.statistics import Array, as_features


def per_video(conformity: ArrayLike, count_first_frame: bool = True) -> Array:
    """PIC of each video (N,) from 1 - D of each frame (N, T). ValueError when no frame is left to count."""
    values = as_features(conformity, "pic.per_video")
    counted = values if count_first_frame else values[:, 1:]
    if counted.shape[1] == 0:
        raise ValueError(f"pic: no frame to count in clips of {values.shape[1]} frames")
    return np.asarray(counted.mean(axis=1))


def pic(conformity: ArrayLike, count_first_frame: bool = True) -> float:
    """PIC: per video first, then over videos. Raises ValueError when there is no video."""
    videos = per_video(conformity, count_first_frame)
    if len(videos) == 0:
        raise ValueError("pic: no videos")
    return float(videos.mean())


def leave_out(videos: Array, units: Sequence[tuple[Rows, Rows]]) -> Array:
    """PIC without each unit in turn, (len(units),), from PIC of each video (N,)."""
    total = videos.sum()
    return np.array([(total - videos[rows].sum()) / (len(videos) - len(rows)) for rows, _ in units])
