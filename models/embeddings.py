"""Numbers as vectors: the diffusion timestep, and the frame stride or FPS of the clip.

Shapes: B clips; a number per clip (B,) becomes (B, width). Sinusoids are [cos, sin], cosine first.
Source: DynamiCrafter, arXiv:2310.12190; the official `timestep_embedding`, `time_embed` and `fps_embedding`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LONGEST_PERIOD = 10000.0  # of the sinusoids, in units of the embedded number (times 2 pi)


def zero_init(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """`layer` with weight and bias 0: a residual branch that ends in it adds nothing before it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def sinusoid(number: Tensor, width: int) -> Tensor:
    """(B,) any real number -> (B, width) float32: [cos(f n), sin(f n)], f from 1 down to about 1/10000.

    Raises ValueError when `width` is odd.
    """
    if width % 2:
        raise ValueError(f"sinusoid: width is {width}; half are cosines and half sines, so it must be even")
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=number.device) / half
    angle = number.float()[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * exponent)
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)


class NumberEmbedding(nn.Module):
    """One number per clip, (B,) -> (B, width): Linear(SiLU(Linear(sinusoid)))."""

    def __init__(self, sinusoid_width: int, width: int) -> None:
        super().__init__()
        self.sinusoid_width = sinusoid_width
        self.linear_in = nn.Linear(sinusoid_width, width)
        self.linear_out = nn.Linear(width, width)

    def forward(self, number: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        wave = sinusoid(number, self.sinusoid_width).to(self.linear_in.weight.dtype)
        return self.linear_out(nn.functional.silu(self.linear_in(wave)))


class RateEmbedding(NumberEmbedding):
    """Frame stride or FPS, whichever the model was trained with; adds nothing before it is trained."""

    def __init__(self, sinusoid_width: int, width: int) -> None:
        super().__init__(sinusoid_width, width)
        zero_init(self.linear_out)


class NoRateEmbedding(nn.Module):
    """The part of a model that is not told the frame rate: a zero, whatever the rate."""

    def forward(self, number: Tensor) -> Tensor:
        """(B,) -> (B, 1) zeros."""
        return torch.zeros_like(number, dtype=torch.float32)[:, None]


def rate_embedding(present: bool, sinusoid_width: int, width: int) -> nn.Module:
    """The part that `fps_condition` names."""
    return RateEmbedding(sinusoid_width, width) if present else NoRateEmbedding()
