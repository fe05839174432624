"""What do the measuring networks say of clips? Pixels in, float64 features and conformities out.

Shapes: clips (N, T, H, W, 3) uint8; features (N, D); conformity (N, T), one minus the distance between the
input image and each frame. A network is given batches of one fixed shape, the last one padded, so a row
depends on its own clip alone: neither on N nor on the clips beside it. The networks are the caller's, in evaluation
mode; `show` makes their input from a batch of pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.metrics.statistics import Array

Pixels = NDArray[np.uint8]
Show = Callable[[Tensor], Tensor]  # uint8 (B, [T,] H, W, 3) -> a network's input, (B, 3, [T,] H', W')


def unit_range(pixels: Tensor) -> Tensor:
    """uint8 (B, T, H, W, 3) or (B, H, W, 3) -> (B, 3, T, H, W) or (B, 3, H, W), in [-1, 1]."""
    axes = (0, 4, 1, 2, 3) if pixels.ndim == 5 else (0, 3, 1, 2)
    return pixels.permute(axes).contiguous().float() / 127.5 - 1.0


def video_features(frames: Pixels, net: nn.Module, micro_batch: int, show: Show = unit_range) -> Array:
    """Features (N, D) float64 of clips (N, T, H, W, 3) uint8 under `net`, which answers (B, D).

    Raises ValueError when the clips are of another shape or kind, `net` is in training mode, or its answer is
    no (B, D).
    """
    _check(frames, 5, "video_features", "(N, T, H, W, 3)")
    return _rows(frames, net, micro_batch, show)


def image_features(images: Pixels, net: nn.Module, micro_batch: int, show: Show = unit_range) -> Array:
    """Embeddings (N, E) float64 of images (N, H, W, 3) uint8; see above."""
    _check(images, 4, "image_features", "(N, H, W, 3)")
    return _rows(images, net, micro_batch, show)


# ---- distances between images ----


class Distances(Protocol):
    """How far images are from one another: by embeddings (each image is looked at once), or pair by pair."""

    def to_frames(self, inputs: Pixels, frames: Pixels) -> Array:
        """Distances (N, T) of each image (N, H, W, 3) from the frames (N, T, H, W, 3) beside it."""
        ...


@dataclass(frozen=True)
class Embedded:
    """One minus the cosine of two embeddings; `embed`: images (B, H, W, 3) uint8 -> (B, E)."""

    embed: Callable[[Pixels], Array]

    def to_frames(self, inputs: Pixels, frames: Pixels) -> Array:
        """See `Distances`."""
        wanted, seen = self.embed(inputs), self.embed(_flat(frames))
        return cosine_distance(wanted[:, None], seen.reshape(*frames.shape[:2], wanted.shape[1]))


@dataclass(frozen=True)
class Pairwise:
    """A distance that looks at two images at once (LPIPS): (B, H, W, 3) uint8 twice -> (B,)."""

    distance: Callable[[Pixels, Pixels], Array]

    def to_frames(self, inputs: Pixels, frames: Pixels) -> Array:
        """See `Distances`."""
        length = frames.shape[1]
        return self.distance(np.repeat(inputs, length, axis=0), _flat(frames)).reshape(len(frames), length)


def cosine_distance(a: Array, b: Array) -> Array:
    """1 - cos(a, b) along the last axis, in [0, 2]; an embedding of length 0 is at distance 1."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray(1.0 - np.sum(a * b, axis=-1) / np.maximum(lengths, np.finfo(float).tiny))


def conformity(frames: Pixels, inputs: Pixels, distances: Distances) -> Array:
    """One minus the distance of each frame from the input image: (N, T) float64.

    frames (N, T, H, W, 3) and inputs (N, H, W, 3) uint8. Raises ValueError when they do not fit.
    """
    _check(frames, 5, "conformity", "(N, T, H, W, 3)")
    _check(inputs, 4, "conformity inputs", "(N, H, W, 3)")
    if inputs.shape != (len(frames), *frames.shape[2:]):
        raise ValueError(f"conformity: inputs {inputs.shape} do not fit clips {frames.shape}")
    if not len(frames):
        return np.zeros(frames.shape[:2])
    return 1.0 - distances.to_frames(inputs, frames)


# ---- batches ----


def _flat(frames: Pixels) -> Pixels:
    return frames.reshape(-1, *frames.shape[2:])


def _check(pixels: Pixels, axes: int, where: str, wanted: str) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != axes or pixels.shape[-1] != 3:
        raise ValueError(f"{where}: pixels {pixels.shape} {pixels.dtype}; wanted {wanted} uint8")


def _rows(pixels: Pixels, net: nn.Module, micro_batch: int, show: Show) -> Array:
    """What `net` says of each item, in batches of exactly `micro_batch`."""
    if net.training:
        raise ValueError("features: the network is in training mode; call eval() first")
    if micro_batch < 1:
        raise ValueError(f"features: micro_batch is {micro_batch}; wanted 1 or more")
    found = [_answer(net, show(batch))[:used] for batch, used in _batches(pixels, micro_batch, net)]
    if not found:  # no clips: the network is asked once, for D alone
        return _rows(np.zeros((1, *pixels.shape[1:]), np.uint8), net, micro_batch, show)[:0]
    return np.concatenate(found)


def _batches(pixels: Pixels, micro_batch: int, net: nn.Module) -> Iterator[tuple[Tensor, int]]:
    """Batches on the network's device, and how many of their rows are not padding."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    for start in range(0, len(pixels), micro_batch):
        part = pixels[start : start + micro_batch]
        rows = np.pad(part, [(0, micro_batch - len(part)), *[(0, 0)] * (part.ndim - 1)], mode="edge")
        yield torch.from_numpy(np.ascontiguousarray(rows)).to(device), len(part)


def _answer(net: nn.Module, batch: Tensor) -> Array:
    with torch.no_grad():
        answer = net(batch)
    if answer.ndim != 2 or len(answer) != len(batch):
        raise ValueError(f"features: the network answered {tuple(answer.shape)} to {tuple(batch.shape)}; wanted (B, D)")
    return np.asarray(answer.double().cpu().numpy())
