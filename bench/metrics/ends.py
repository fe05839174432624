"""Does a clip end where it was asked to: at a given picture, or where it began?

    end conformity  = 1 - D(given end image, x_T)       higher is better, 1 for the picture itself
    loop closure    = D(x_1, x_T)                       lower is better, 0 for a clip that closes
    step distance   = mean over t of D(x_t, x_{t+1})    what a viewer sees from frame to frame anyway

D is the distance between images that PIC uses. A loop closes without a seam when its closure is no larger than its step
distance; a clip that stands still closes too, which its step distance of 0 gives away. The last frame counts as it was
made: a loop that is played leaves it out, as it would be shown twice.
Shapes: frames (N, T, H, W, 3) and end images (N, H, W, 3) uint8; results (N,) float64.
Source: ours; D as for PIC (DynamiCrafter, arXiv:2310.12190, section 4). The baseline is a model that sees only the
first frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics.extract import Distances, Pixels, conformity
from bench.metrics.statistics import Array


@dataclass(frozen=True)
class Ends:
    """What to measure of the ends of clips, and by which distance between images."""

    arrays: Sequence[str]
    distances: Distances

    def look(self, frames: Pixels, end_images: Pixels) -> dict[str, Array]:
        """{name: (N,)} of clips and the images that they should end at, which a loop has no use for."""
        made = {
            "end_conformity": lambda: end_conformity(frames, end_images, self.distances),
            "loop_closure": lambda: loop_closure(frames, self.distances),
            "step_distance": lambda: step_distance(frames, self.distances),
        }
        return {name: made[name]() for name in self.arrays}


def end_conformity(frames: Pixels, end_images: Pixels, distances: Distances) -> Array:
    """One minus the distance of each clip's last frame from its end image, (N,).

    Raises ValueError when clips and images do not fit.
    """
    return conformity(frames[:, -1:], end_images, distances)[:, 0]


def loop_closure(frames: Pixels, distances: Distances) -> Array:
    """Distance of each clip's last frame from its first, (N,). Raises ValueError for clips of one frame."""
    _at_least_two(frames, "loop_closure")
    return 1.0 - conformity(frames[:, -1:], frames[:, 0], distances)[:, 0]


def step_distance(frames: Pixels, distances: Distances) -> Array:
    """Mean distance of each clip's neighbouring frames, (N,). Raises ValueError for clips of one frame."""
    _at_least_two(frames, "step_distance")
    left, right = frames[:, :-1], frames[:, 1:]
    pairs = left.shape[:2]
    flat = right.reshape(-1, 1, *right.shape[2:])
    apart = 1.0 - conformity(flat, left.reshape(-1, *left.shape[2:]), distances)[:, 0]
    return np.asarray(apart.reshape(pairs).mean(axis=1))


def _at_least_two(frames: Pixels, where: str) -> None:
    if frames.ndim != 5 or frames.shape[1] < 2:
        raise ValueError(f"{where}: clips {frames.shape}; wanted (N, T, H, W, 3) of 2 frames or more")
