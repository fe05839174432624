"""The convolutional layers of the U-Net: residual block, temporal convolution, down- and upsampling.

Shapes: B clips, T frames, C channels, h x w latent sites; the frames of all clips are one batch
((B T), C, h, w), clip-major, with channels last in memory: then a clip (B, C, T, h w), the sites of a frame
and the frames of a site are all views of the same values, and no layer has to move them.
Source: DynamiCrafter, arXiv:2310.12190; the official `ResBlock`, `TemporalConvBlock`, `Downsample`,
`Upsample`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import Projected
from models.embeddings import zero_init


@dataclass(frozen=True)
class Signals:
    """What a layer may look at beside its input."""

    embedding: Tensor  # (B, E), timestep and frame rate, SiLU applied
    projected: Projected
    frames: int  # T

    def clip(self, x: Tensor) -> Tensor:
        """((B T), C, h, w) -> (B, C, T, h w), a view."""
        return x.unflatten(0, (-1, self.frames)).flatten(3).transpose(1, 2)


def frames_like(clip: Tensor, like: Tensor) -> Tensor:
    """(B, C, T, h w) -> ((B T), C, h, w), the sites as in `like`."""
    return clip.transpose(1, 2).flatten(0, 1).unflatten(2, like.shape[2:])


class GroupNorm(nn.GroupNorm):
    """Group normalisation in float32 whatever the input's type; over all axes but the first and the group."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) -> same."""
        weight, bias = self.weight.float(), self.bias.float()
        return F.group_norm(input.float(), self.num_groups, weight, bias, self.eps).to(input.dtype)


def dropout(p: float) -> nn.Module:
    """Dropout, or nothing at all when p is 0."""
    return nn.Dropout(p) if p else nn.Identity()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions inside each frame, the embedding added between them; the second starts at zero."""

    def __init__(self, channels: int, out_channels: int, embedding: int, groups: int, p: float) -> None:
        super().__init__()
        self.norm_in = GroupNorm(groups, channels)
        self.conv_in = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.embed = nn.Linear(embedding, out_channels)
        self.norm_out = GroupNorm(groups, out_channels)
        self.dropout = dropout(p)
        self.conv_out = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        same = channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, signals: Signals) -> Tensor:
        """((B T), C, h, w) -> ((B T), out_channels, h, w)."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        shift = self.embed(signals.embedding)[:, None, :, None, None]  # one per clip, the same for its frames
        h = (h.unflatten(0, (-1, signals.frames)) + shift).flatten(0, 1)
        h = self.conv_out(self.dropout(F.silu(self.norm_out(h))))
        return self.skip(x) + h


class TemporalConvStep(nn.Module):
    """Norm, SiLU, convolution over three neighbouring frames of each site; (B, C, T, h w) -> same."""

    def __init__(self, channels: int, groups: int, p: float) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels)
        self.dropout = dropout(p)
        self.conv = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))

    def forward(self, clip: Tensor) -> Tensor:
        """(B, C, T, h w) -> same."""
        return self.conv(self.dropout(F.silu(self.norm(clip))))


class TemporalConv(nn.Module):
    """Four steps along the frames, added to the input; the last one starts at zero."""

    def __init__(self, channels: int, groups: int, p: float) -> None:
        super().__init__()
        steps = [TemporalConvStep(channels, groups, q) for q in (0.0, p, p, p)]
        zero_init(steps[-1].conv)
        self.steps = nn.Sequential(*steps)

    def forward(self, x: Tensor, signals: Signals) -> Tensor:
        """((B T), C, h, w) -> same."""
        return x + frames_like(self.steps(signals.clip(x)), x)


class Downsample(nn.Module):
    """Half the sites along each side: a 3x3 convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, signals: Signals) -> Tensor:
        """((B T), C, h, w) -> ((B T), C, h/2, w/2)."""
        return self.conv(x)


class Upsample(nn.Module):
    """Twice the sites along each side: every site four times, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, signals: Signals) -> Tensor:
        """((B T), C, h, w) -> ((B T), C, 2 h, 2 w)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.ModuleDict):
    """Layers one after the other, by name; one that a configuration leaves out is not there."""

    def forward(self, x: Tensor, signals: Signals) -> Tensor:
        """((B T), C, h, w) -> what the last layer returns."""
        for layer in self.values():
            x = layer(x, signals)
        return x


def channels_last(x: Tensor) -> Tensor:
    """The same tensor with its channels innermost in memory."""
    return x.contiguous(memory_format=torch.channels_last)
