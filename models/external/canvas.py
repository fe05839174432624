"""How does a picture get onto the size that a system makes, and each frame back from it?

Enlarged or shrunk evenly (bicubic, antialiased) to the part that is the picture, continued by its edge pixels; frames
go the other way: cut, then resized. Where the sizes are equal nothing is touched.
Shapes: picture uint8 (H, W, 3), frames uint8 (T, H, W, 3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.external.rules import Making, Size

Picture = NDArray[np.uint8]  # (H, W, 3)
Clip = NDArray[np.uint8]  # (T, H, W, 3)


def spread(picture: Picture, one: Making) -> Picture:
    """The picture on the size that the system makes. Raises ValueError for what is no RGB picture of bytes."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture is uint8 (H, W, 3), not {picture.dtype} {picture.shape}")
    inner = _resized(picture, one.inner)
    (top, left), (height, width) = one.corner, one.size
    below, right = height - top - one.inner[0], width - left - one.inner[1]
    return np.pad(inner, ((top, below), (left, right), (0, 0)), mode="edge")


def cut(frames: Clip, one: Making, size: Size) -> Clip:
    """The frames that count, of the part that is the picture, at `size`."""
    (top, left), (height, width) = one.corner, one.inner
    kept = frames[list(one.keep), top : top + height, left : left + width]
    return np.ascontiguousarray([_resized(frame, size) for frame in kept])  # decoders leave other memory orders behind


def _resized(picture: Picture, size: Size) -> Picture:
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC))
