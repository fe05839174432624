"""Which latent does a frame have, and which frame a latent: the KL autoencoder of Stable Diffusion.

Shapes: B clips, T frames, N = B T frames, H x W pixels, h x w = H/f x W/f latent sites with
f = 2 ** (levels - 1). Pixels float in [-1, 1]; latents multiplied by `scale_factor` (0.18215)
unless a name says "unscaled". Parameter names are those of the published `first_stage_model`.
Source: Rombach et al., arXiv:2112.10752, section 3.1 and the `AutoencoderKL` of its code;
GroupNorm eps 1e-6, downsampling pads right and bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import AutoencoderConfig

LOGVAR_RANGE = (-30.0, 20.0)
AT_ONCE = 2**20  # pixels that go through at once: 16 frames of 256x256, 6 of 320x512, one of 576x1024


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """The normalisation of every layer here.

    Raises:
        ValueError: the channels cannot be split into that many groups.
    """
    if channels % groups:
        raise ValueError(
            f"autoencoder: {channels} channels cannot be split into norm_groups = {groups}; "
            f"allowed: a divisor of every level's channels"
        )
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Two normalised 3x3 convolutions beside a shortcut (1x1 where the channels change)."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.nin_shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, Cin, h, w) -> (N, Cout, h, w)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.nin_shortcut(x) + h


class SiteAttention(nn.Module):
    """Single-head self-attention over the sites of one frame."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, h, w) -> same
        y = self.norm(x)
        q, k, v = (rearrange(f(y), "n c h w -> n 1 (h w) c") for f in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(out, "n 1 (h w) c -> n c h w", h=x.shape[-2]))


class Middle(nn.Module):
    """Residual block, attention, residual block at the coarsest level."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = SiteAttention(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, h, w) -> same
        return self.block_2(self.attn_1(self.block_1(x)))


class Downsample(nn.Module):
    """Halves each side; the missing row and column are zeros at the bottom and right."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, h, w) -> (N, C, h/2, w/2)
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles each side by repeating sites, then smooths with a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, h, w) -> (N, C, 2h, 2w)
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class EncoderLevel(nn.Module):
    """The residual blocks of one resolution and the step to the next one."""

    def __init__(self, widths: list[int], groups: int, downsample: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*(ResnetBlock(i, o, groups) for i, o in pairwise(widths)))
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(self.block(x))


class DecoderLevel(nn.Module):
    """The residual blocks of one resolution and the step to the next finer one."""

    def __init__(self, widths: list[int], groups: int, upsample: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*(ResnetBlock(i, o, groups) for i, o in pairwise(widths)))
        self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(self.block(x))


class Encoder(nn.Module):
    """Frames to the moments of the posterior, before `quant_conv`."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        groups, blocks = config.norm_groups, config.num_res_blocks
        widths = [config.channels * m for m in config.channel_mult]
        self.conv_in = nn.Conv2d(config.in_channels, config.channels, 3, padding=1)
        self.down = nn.ModuleList()
        previous, last = config.channels, len(widths) - 1
        for level, width in enumerate(widths):
            step = nn.Identity() if level == last else Downsample(width)
            self.down.append(EncoderLevel([previous] + [width] * blocks, groups, step))
            previous = width
        self.mid = Middle(previous, groups)
        self.norm_out = group_norm(previous, groups)
        self.conv_out = nn.Conv2d(previous, 2 * config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, 2 z, h, w)
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Latents (after `post_quant_conv`) to frames. `up` is indexed by level, the finest is 0 as published."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        groups, blocks = config.norm_groups, config.num_res_blocks + 1
        widths = [config.channels * m for m in config.channel_mult]
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], groups)
        coarser = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList()
        for level, (width, previous) in enumerate(zip(widths, coarser, strict=True)):
            step = nn.Identity() if level == 0 else Upsample(width)
            self.up.append(DecoderLevel([previous] + [width] * blocks, groups, step))
        self.norm_out = group_norm(widths[0], groups)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:  # (N, z, h, w) -> (N, 3, H, W)
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


def _in_parts(function: Callable[[Tensor], Tensor], rows: Tensor, pixels: int) -> Tensor:
    """`function` of rows of `pixels` pixels each, as many at once as AT_ONCE allows: one frame needs most memory."""
    parts = rows.split(max(1, AT_ONCE // pixels))
    return function(rows) if len(parts) == 1 else torch.cat([function(part) for part in parts])


class Autoencoder(nn.Module):
    """Frame by frame: a clip's frames never see each other."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.z_channels, 2 * config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    def moments(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, unscaled: (N, 3, H, W) in [-1, 1] -> two (N, 4, h, w).

        Raises:
            ValueError: the frames have another number of channels, or a side that f does not divide.
        """
        factor, channels = self.config.downsampling, self.config.in_channels
        if frames.ndim != 4 or frames.shape[1] != channels or any(s % factor for s in frames.shape[-2:]):
            raise ValueError(
                f"Autoencoder.moments: frames have shape {tuple(frames.shape)}; "
                f"allowed: (N, {channels}, H, W) with H and W multiples of {factor}"
            )
        pixels = frames.shape[-2] * frames.shape[-1]
        mean, logvar = _in_parts(lambda part: self.quant_conv(self.encoder(part)), frames, pixels).chunk(2, dim=1)
        return mean, logvar.clamp(*LOGVAR_RANGE)

    def encode(self, video: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scaled latents of a clip: (B, 3, T, H, W) in [-1, 1] -> (B, 4, T, h, w).

        Args:
            video: pixels.
            noise: standard normal, shaped like the result; the posterior is sampled with it. None: its mean.
        """
        mean, logvar = self.moments(rearrange(video, "b c t h w -> (b t) c h w"))
        if noise is not None:
            mean = mean + torch.exp(0.5 * logvar) * rearrange(noise, "b c t h w -> (b t) c h w")
        return self.config.scale_factor * rearrange(mean, "(b t) c h w -> b c t h w", b=video.shape[0])

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels of scaled latents, not clamped: (B, 4, T, h, w) -> (B, 3, T, H, W), about [-1, 1].

        Raises:
            ValueError: the latents have another number of channels.
        """
        if latents.ndim != 5 or latents.shape[1] != self.config.embed_dim:
            raise ValueError(
                f"Autoencoder.decode: latents have shape {tuple(latents.shape)}; "
                f"allowed: (B, {self.config.embed_dim}, T, h, w)"
            )
        rows = rearrange(latents / self.config.scale_factor, "b c t h w -> (b t) c h w")
        pixels = rows.shape[-2] * rows.shape[-1] * self.config.downsampling**2
        frames = _in_parts(lambda part: self.decoder(self.post_quant_conv(part)), rows, pixels)
        return rearrange(frames, "(b t) c h w -> b c t h w", b=latents.shape[0])

    def forward(self, video: Tensor, noise: Tensor | None = None) -> Tensor:
        """Reconstruction of a clip: (B, 3, T, H, W) -> same."""
        return self.decode(self.encode(video, noise))
