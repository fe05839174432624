"""Clips that get worse by known amounts: what a metric must notice, and by how much more each time.

Clips are (N, T, H, W, 3) uint8. Each corruption takes clips and a level above 0; equal levels give equal bytes.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bench.metrics.extract import Embedded, conformity, image_features, video_features
from bench.metrics.features import Sample
from bench.metrics.networks import PerceptualNet, VideoClassifier
from datasets.decode import decode_all
from datasets.procedural import HEIGHT, WIDTH, render, sample_scene
from datasets.transforms import fit
from models.weights import load_module

Clips = NDArray[np.uint8]
WEIGHTS = Path(__file__).parents[3] / "weights" / "tiny"
FRAMES, STRIDE, SIDE = 8, 3, HEIGHT
SPAN = STRIDE * (FRAMES - 1) + 1  # source frames of a clip


def noise(clips: Clips, level: float) -> Clips:
    """Gaussian noise, `level` in grey levels, anew in each frame."""
    drawn = np.random.default_rng(0).normal(0, 1, clips.shape)
    return np.clip(clips + level * drawn, 0, 255).astype(np.uint8)


def blur(clips: Clips, level: float) -> Clips:
    """Gaussian blur within frames, `level` in pixels."""
    return ndimage.gaussian_filter(clips, (0, 0, level, level, 0))


def shuffle(clips: Clips, level: float) -> Clips:
    """Frames out of order: a share `level` of the clips has its frames permuted."""
    rng = np.random.default_rng(0)
    orders = np.array([rng.permutation(clips.shape[1]) for _ in clips])
    gone = rng.permutation(len(clips)) < level * len(clips)
    orders[~gone] = np.arange(clips.shape[1])
    return np.take_along_axis(clips, orders[:, :, None, None, None], axis=1)


def freeze(clips: Clips, level: float) -> Clips:
    """The first frame is held for a share `level` of the clip, then the rest follows: 1 is a still picture."""
    held = round(level * clips.shape[1])
    kept = np.maximum(np.arange(clips.shape[1]) - held, 0)
    return clips[:, kept]


CORRUPTIONS: dict[str, tuple[Callable[[Clips, float], Clips], tuple[float, ...]]] = {
    "noise": (noise, (15, 30, 60)),
    "blur": (blur, (0.6, 1.2, 2.5)),
    "shuffle": (shuffle, (0.3, 0.6, 1)),
    "freeze": (freeze, (0.25, 0.5, 1)),
}


def procedural_clips(count: int, seed: int = 0) -> Clips:
    """The procedural world's clips, as a data set would give them."""
    rng, left = np.random.default_rng(seed), (WIDTH - HEIGHT) // 2
    return np.stack([render(sample_scene(rng), SPAN)[::STRIDE, :, left : left + SIDE] for _ in range(count)])


def real_clips(files: list[Path], starts: int = 5) -> Clips:
    """Few videos, many clips: other starts, and the left, middle and right of the picture."""
    found = []
    for path in files:
        frames = decode_all(path).frames
        square = min(frames.shape[1:3])
        for start in np.linspace(0, len(frames) - SPAN, starts).astype(int):
            for left in np.linspace(0, frames.shape[2] - square, 3).astype(int):
                found.append(fit(frames[start : start + SPAN : STRIDE, :, left : left + square], SIDE, SIDE))
    return np.stack(found)


class Eyes:
    """The tiny world's measuring networks."""

    def __init__(self) -> None:
        self.video, self.image = VideoClassifier(), PerceptualNet()
        load_module(self.video, WEIGHTS / "classifier.safetensors")
        load_module(self.image, WEIGHTS / "perceptual.safetensors")
        self.video.eval()
        self.image.eval()

    def sample(self, clips: Clips, inputs: Clips) -> Sample:
        """Features of clips; conformity with the first frames of `inputs`."""
        ids = tuple(f"{index}" for index in range(len(clips)))
        return Sample(
            video_features(clips, self.video, 16),
            conformity(clips, inputs[:, 0], Embedded(lambda images: image_features(images, self.image, 16))),
            ids,
            (None,) * len(ids),
        )

    def embeddings(self, clips: Clips) -> NDArray[np.float64]:
        """Of each frame, (N, T, E)."""
        flat = clips.reshape(-1, *clips.shape[2:])
        return image_features(flat, self.image, 64).reshape(*clips.shape[:2], -1)
