"""Transformers of the U-Net: inside a frame (with the context), and along the frames of a site.

Shapes: B clips, T frames, C channels, h x w latent sites; layers take and return ((B T), C, h, w).
Source: DynamiCrafter, arXiv:2310.12190; the official `SpatialTransformer` and `TemporalTransformer`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import CrossAttention, SelfAttention
from models.blocks import GroupNorm, Signals, frames_like
from models.embeddings import zero_init

FEED_FORWARD = 4  # inner width over channels


class FeedForward(nn.Module):
    """GEGLU: half of a wide projection, gated by the GELU of the other half; (..., C) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear_in = nn.Linear(channels, 2 * FEED_FORWARD * channels)
        self.linear_out = nn.Linear(FEED_FORWARD * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> same."""
        weight_value, weight_gate = self.linear_in.weight.chunk(2)  # two products: halves of one are strided
        bias_value, bias_gate = self.linear_in.bias.chunk(2)
        gate = F.gelu(F.linear(x, weight_gate, bias_gate))
        return self.linear_out(F.linear(x, weight_value, bias_value) * gate)


class SpatialBlock(nn.Module):
    """Sites of a frame attend to each other, then to the context, then each is processed alone."""

    def __init__(self, channels: int, head_channels: int, context_dim: int, image_stream: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.self_attention = SelfAttention(channels, head_channels)
        self.norm2 = nn.LayerNorm(channels)
        self.cross_attention = CrossAttention(channels, context_dim, head_channels, image_stream)
        self.norm3 = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor, signals: Signals) -> Tensor:
        """((B T), h w, C) -> same."""
        x = x + self.self_attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), signals.projected)
        return x + self.feed_forward(self.norm3(x))


class TemporalBlock(nn.Module):
    """Frames of a site attend to each other, twice; no mask, no positions, no context."""

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.first_attention = SelfAttention(channels, head_channels)
        self.norm2 = nn.LayerNorm(channels)
        self.second_attention = SelfAttention(channels, head_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, h w, C) -> same."""
        x = x + self.first_attention(self.norm1(x))
        x = x + self.second_attention(self.norm2(x))
        return x + self.feed_forward(self.norm3(x))


class SpatialTransformer(nn.Module):
    """`depth` spatial blocks of width `inner`, added to the input; the last layer starts at zero."""

    def __init__(
        self,
        channels: int,
        inner: int,
        head_channels: int,
        depth: int,
        context_dim: int,
        image_stream: str,
        groups: int,
    ) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.linear_in = nn.Linear(channels, inner)
        self.blocks = nn.ModuleList(
            SpatialBlock(inner, head_channels, context_dim, image_stream) for _ in range(depth)
        )
        self.linear_out = zero_init(nn.Linear(inner, channels))

    def forward(self, x: Tensor, signals: Signals) -> Tensor:
        """((B T), C, h, w) -> same; the norm's statistics are those of one frame."""
        sites = self.linear_in(self.norm(x).flatten(2).transpose(1, 2))  # ((B T), h w, C)
        for block in self.blocks:
            sites = block(sites, signals)
        return x + self.linear_out(sites).transpose(1, 2).unflatten(2, x.shape[2:])


class TemporalTransformer(nn.Module):
    """`depth` temporal blocks of width `inner`, added to the input; the last layer starts at zero."""

    def __init__(self, channels: int, inner: int, head_channels: int, depth: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.linear_in = nn.Linear(channels, inner)
        self.blocks = nn.ModuleList(TemporalBlock(inner, head_channels) for _ in range(depth))
        self.linear_out = zero_init(nn.Linear(inner, channels))

    def forward(self, x: Tensor, signals: Signals) -> Tensor:
        """((B T), C, h, w) -> same; the norm's statistics are those of the whole clip."""
        tokens = self.linear_in(self.norm(signals.clip(x)).permute(0, 2, 3, 1))  # (B, T, h w, inner)
        for block in self.blocks:
            tokens = block(tokens)
        return x + frames_like(self.linear_out(tokens).permute(0, 3, 1, 2), x)
