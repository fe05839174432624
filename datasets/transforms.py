"""How does a frame get its size? Shorter side to the target, then the centre.

Shapes: uint8 (..., h, w, 3) -> uint8 (..., height, width, 3). Pillow's bicubic, antialiased when it shrinks
(its support grows with the scale, unlike a tensor resize without antialias); a frame that already fits is
only cropped.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from PIL import Image

from datasets.clip import Frames

MOST_PIXELS = 2**26  # of a frame that covers its target, before the centre is taken
SPARE = 16  # pixels

# What a protocol says of it.
RESIZE = "pillow bicubic, antialiased, smallest size that covers the target, then centre crop"


def covering_size(h: int, w: int, height: int, width: int) -> tuple[int, int]:
    """The smallest size of an (h, w) picture, aspect kept, that covers (height, width)."""
    scale = max(height / h, width / w)
    return max(height, round(h * scale)), max(width, round(w * scale))


def middle(frame: Frames, height: int, width: int) -> Frames:
    """The middle of a strip so long that covering (height, width) would make more than MOST_PIXELS of it, with some
    pixels to spare for the resampling; any other frame as it is.
    """
    h, w = covering_size(frame.shape[0], frame.shape[1], height, width)
    if h * w <= MOST_PIXELS:
        return frame
    scale = max(height / frame.shape[0], width / frame.shape[1])
    keep = [min(side, ceil(target / scale) + SPARE) for side, target in zip(frame.shape, (height, width), strict=False)]
    top, left = ((side - kept) // 2 for side, kept in zip(frame.shape, keep, strict=False))
    return frame[top : top + keep[0], left : left + keep[1]]


def fit_frame(frame: Frames, height: int, width: int) -> Frames:
    """One frame (h, w, 3) to (height, width, 3)."""
    frame = middle(frame, height, width)
    h, w = covering_size(frame.shape[0], frame.shape[1], height, width)
    if (h, w) != frame.shape[:2]:
        frame = np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize((w, h), Image.Resampling.BICUBIC))
    top, left = (h - height) // 2, (w - width) // 2
    return np.ascontiguousarray(frame[top : top + height, left : left + width])


def fit(frames: Frames, height: int, width: int) -> Frames:
    """Frames (T, h, w, 3) to (T, height, width, 3)."""
    return np.stack([fit_frame(frame, height, width) for frame in frames])
