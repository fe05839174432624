"""What is the same network written plainly? The same weights, no fast path: what `python -m bench speed` compares with.

Attention is a softmax between two products, of tokens that were copied into rows; keys and values of the context are
made anew in every evaluation, the text's for every frame; time is a row of its own for each site, its convolution a
three-dimensional one; each branch of guidance is an evaluation; memory is laid out channels first.
Shapes as in models/unet.py. Source: how the official `openaimodel3d.py`, `attention.py` and `ddim.py` are organised,
without xformers. tests/bench/test_plain_network.py: the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import CrossAttention, LearnedScale, SelfAttention, Stream
from models.blocks import Downsample, ResidualBlock, Stage, TemporalConv, TemporalConvStep, Upsample
from models.dynamicrafter import DynamiCrafter
from models.guidance import Branch, Guidance
from models.pipeline import Conditions
from models.sampler import Denoise
from models.transformers import FeedForward, SpatialBlock, SpatialTransformer, TemporalBlock, TemporalTransformer
from models.unet import VideoUNet


@dataclass(frozen=True)
class Given:
    """What a layer may look at beside its input: context streams (B, L, D), "image" frame-major."""

    embedding: Tensor  # (B, E), SiLU applied
    context: Mapping[str, Tensor]
    frames: int
    tokens_per_frame: int

    def of_frames(self, stream: str) -> Tensor:
        """((B T), L, D): a stream's tokens for each frame, repeated where all frames share them."""
        tokens = self.context[stream]
        if stream == "image" and tokens.shape[1] == self.frames * self.tokens_per_frame:
            return rearrange(tokens, "b (t l) d -> (b t) l d", t=self.frames)
        return repeat(tokens, "b l d -> (b t) l d", t=self.frames)


def attention(q: Tensor, k: Tensor, v: Tensor, head_channels: int) -> Tensor:
    """Softmax(q k^T / sqrt(d)) v head by head: q (N, L, C), k and v (N, M, C) -> (N, L, C)."""
    heads = q.shape[-1] // head_channels
    q, k, v = (rearrange(x, "n l (h d) -> (n h) l d", d=head_channels).contiguous() for x in (q, k, v))
    weights = torch.softmax(torch.einsum("n l d, n m d -> n l m", q, k) * head_channels**-0.5, dim=-1)
    out = torch.einsum("n l m, n m d -> n l d", weights, v)
    return rearrange(out, "(n h) l d -> n l (h d)", h=heads).contiguous()


def self_attention(layer: SelfAttention, x: Tensor) -> Tensor:
    """(N, L, C) -> same."""
    return layer.to_out(attention(layer.to_q(x), layer.to_k(x), layer.to_v(x), layer.head_channels))


def cross_attention(layer: CrossAttention, x: Tensor, given: Given) -> Tensor:
    """((B T), L, C) -> same: keys and values are made here, every time."""
    q = layer.to_q(x)
    out = torch.zeros_like(q)
    for key in layer.streams:
        stream, tokens = layer.stream(key), given.of_frames(key)
        out = out + weight(stream) * attention(q, stream.to_k(tokens), stream.to_v(tokens), layer.head_channels)
    return layer.to_out(out)


def weight(stream: Stream) -> Tensor | float:
    """lambda."""
    return torch.tanh(stream.alpha) + 1 if isinstance(stream, LearnedScale) else 1.0


def feed_forward(layer: FeedForward, x: Tensor) -> Tensor:
    """(..., C) -> same: one wide product, cut in two."""
    value, gate = layer.linear_in(x).chunk(2, dim=-1)
    return layer.linear_out(value * F.gelu(gate))


def spatial(layer: SpatialTransformer, x: Tensor, given: Given) -> Tensor:
    """((B T), C, h, w) -> same."""
    sites = layer.linear_in(rearrange(layer.norm(x), "n c h w -> n (h w) c").contiguous())
    for block in layer.blocks:
        assert isinstance(block, SpatialBlock)
        sites = sites + self_attention(block.self_attention, block.norm1(sites))
        sites = sites + cross_attention(block.cross_attention, block.norm2(sites), given)
        sites = sites + feed_forward(block.feed_forward, block.norm3(sites))
    return x + rearrange(layer.linear_out(sites), "n (h w) c -> n c h w", h=x.shape[2]).contiguous()


def temporal(layer: TemporalTransformer, x: Tensor, given: Given) -> Tensor:
    """((B T), C, h, w) -> same: the frames of each site are copied into a row."""
    clip = rearrange(x, "(b t) c h w -> b c t h w", t=given.frames).contiguous()
    rows = layer.linear_in(rearrange(layer.norm(clip), "b c t h w -> (b h w) t c").contiguous())
    for block in layer.blocks:
        assert isinstance(block, TemporalBlock)
        rows = rows + self_attention(block.first_attention, block.norm1(rows))
        rows = rows + self_attention(block.second_attention, block.norm2(rows))
        rows = rows + feed_forward(block.feed_forward, block.norm3(rows))
    out = rearrange(layer.linear_out(rows), "(b h w) t c -> (b t) c h w", h=x.shape[2], w=x.shape[3])
    return x + out.contiguous()


def temporal_conv(layer: TemporalConv, x: Tensor, given: Given) -> Tensor:
    """((B T), C, h, w) -> same: convolutions in three dimensions."""
    clip = out = rearrange(x, "(b t) c h w -> b c t h w", t=given.frames).contiguous()
    for step in layer.steps:
        assert isinstance(step, TemporalConvStep)
        out = step.dropout(F.silu(step.norm(out)))
        out = F.conv3d(out, step.conv.weight[..., None], step.conv.bias, padding=(1, 0, 0))
    return rearrange(clip + out, "b c t h w -> (b t) c h w").contiguous()


def residual(layer: ResidualBlock, x: Tensor, given: Given) -> Tensor:
    """((B T), C, h, w) -> ((B T), out_channels, h, w): the embedding is repeated for each frame."""
    embedding = repeat(given.embedding, "b e -> (b t) e", t=given.frames)
    h = layer.conv_in(F.silu(layer.norm_in(x))) + layer.embed(embedding)[:, :, None, None]
    return layer.skip(x) + layer.conv_out(layer.dropout(F.silu(layer.norm_out(h))))


def downsample(layer: Downsample, x: Tensor, given: Given) -> Tensor:
    """((B T), C, h, w) -> ((B T), C, h/2, w/2)."""
    return layer.conv(x)


def upsample(layer: Upsample, x: Tensor, given: Given) -> Tensor:
    """((B T), C, h, w) -> ((B T), C, 2 h, 2 w)."""
    return layer.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


LAYERS: dict[type[nn.Module], Callable[..., Tensor]] = {
    ResidualBlock: residual,
    TemporalConv: temporal_conv,
    SpatialTransformer: spatial,
    TemporalTransformer: temporal,
    Downsample: downsample,
    Upsample: upsample,
}


def stage(layers: Stage, x: Tensor, given: Given) -> Tensor:
    """One layer after the other. Raises KeyError for a layer that has no plain form."""
    for layer in layers.values():
        x = LAYERS[type(layer)](layer, x, given)
    return x


def denoise(unet: VideoUNet, x: Tensor, t: Tensor, context: Mapping[str, Tensor], fs: Tensor) -> Tensor:
    """One evaluation, as `VideoUNet.forward`: (B, in_channels, T, h, w) -> (B, out_channels, T, h, w)."""
    embedding = F.silu(unet.time_embedding(t) + unet.rate_embedding(fs))
    given = Given(embedding, context, x.shape[2], unet.tokens_per_frame)
    out = stage(unet.initial, unet.conv_in(rearrange(x, "b c t h w -> (b t) c h w").contiguous()), given)
    skips = [out]
    for layers in unet.down:
        assert isinstance(layers, Stage)
        out = stage(layers, out, given)
        skips.append(out)
    out = stage(unet.middle, out, given)
    for layers in unet.up:
        assert isinstance(layers, Stage)
        out = stage(layers, torch.cat([out, skips.pop()], dim=1), given)
    out = unet.conv_out(F.silu(unet.norm_out(out)))
    return rearrange(out, "(b t) c h w -> b c t h w", b=len(x)).contiguous()


class PlainModel(nn.Module):
    """A DynamiCrafter that answers by `denoise`; the loss takes it for the model itself."""

    def __init__(self, model: DynamiCrafter) -> None:
        super().__init__()
        self.model = model

    def context(self, text: Tensor, image_tokens: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """As `DynamiCrafter.context`."""
        return self.model.context(text, image_tokens, condition)

    def forward(self, z_t: Tensor, t: Tensor, context: Mapping[str, Tensor], condition: Tensor, fs: Tensor) -> Tensor:
        """As `DynamiCrafter.forward`."""
        return denoise(self.model.unet, self.model.detail(z_t, condition), t, context, fs)


def guided_denoiser(
    model: DynamiCrafter, guidance: Guidance, conditions: Conditions, fs: Tensor, branches: Sequence[Branch]
) -> Denoise:
    """(x, t) -> the guided answer, a branch after the other; the projector is asked once for each, as officially."""

    def context(branch: Branch) -> dict[str, Tensor]:
        text, tokens = (x.expand(len(conditions.latent), -1, -1) for x in conditions.branch(branch))
        return model.context(text, tokens, conditions.latent)

    contexts = [context(branch) for branch in branches]

    def guided(x: Tensor, t: Tensor) -> Tensor:
        shown = model.detail(x, conditions.latent)
        return guidance([denoise(model.unet, shown, t, one, fs) for one in contexts])

    return guided
