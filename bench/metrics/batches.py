"""How is a network asked about images so that an answer depends on its own image alone?

Images (N, H, W, 3) uint8 go in batches of one fixed shape, the last one padded: a convolution may give other bits at
another batch size. Answers are float64 on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.metrics.statistics import Array

Pixels = NDArray[np.uint8]


def check_images(images: Pixels, where: str) -> None:
    """Raises ValueError unless images are (N, H, W, 3) uint8, none of them empty."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape[1:]:
        raise ValueError(f"{where}: images {images.shape} {images.dtype}; wanted (N, H, W, 3) uint8")


def check_pairs(a: Pixels, b: Pixels, where: str) -> None:
    """Raises ValueError unless both are images, as many and of one size."""
    check_images(a, where)
    check_images(b, where)
    if a.shape != b.shape:
        raise ValueError(f"{where}: images {a.shape} against {b.shape}; wanted as many, of one size")


@torch.no_grad()
def in_batches(answer: Callable[..., Tensor], micro_batch: int, *images: Pixels) -> Array:
    """`answer` of the images of each row, one array or several side by side, `micro_batch` rows at a time.

    answer: (micro_batch, H, W, 3) uint8 per array -> (micro_batch, ...). Raises ValueError when there is no row, or
    micro_batch is below 1.
    """
    if micro_batch < 1 or not len(images[0]):
        raise ValueError(f"{len(images[0])} images in batches of {micro_batch}; wanted 1 or more of both")
    found = []
    for start in range(0, len(images[0]), micro_batch):
        parts = [array[start : start + micro_batch] for array in images]
        used = len(parts[0])
        padded = [np.pad(part, [(0, micro_batch - used), *[(0, 0)] * 3], mode="edge") for part in parts]
        found.append(answer(*padded)[:used].double().cpu().numpy())
    return np.concatenate(found)
