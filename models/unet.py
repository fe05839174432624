"""The denoiser: a U-Net over latent frames whose layers alternate between space and time.

Shapes: B clips, T frames, h x w latent sites; latents (B, C, T, h, w), inside ((B T), C, h, w), clip-major.
Source: DynamiCrafter, arXiv:2310.12190; the official `UNetModel` (openaimodel3d.py). Names of the layers are
ours: `models/checkpoint.py` maps them to the official ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import CrossAttention, Projected
from models.blocks import (
    Downsample,
    GroupNorm,
    ResidualBlock,
    Signals,
    Stage,
    TemporalConv,
    Upsample,
    channels_last,
)
from models.config import UNetConfig
from models.embeddings import NumberEmbedding, rate_embedding, zero_init
from models.transformers import SpatialTransformer, TemporalTransformer

EMBEDDING = 4  # width of the embeddings over model_channels


class VideoUNet(nn.Module):
    """Predicts noise or velocity of noisy latents, given a context and a frame rate.

    `tokens_per_frame`: how many image tokens belong to one frame. An image context of exactly T times as many
    gives every frame its own; one of any other length is shared by all frames, as the official code does.
    """

    def __init__(self, config: UNetConfig, tokens_per_frame: int = 16) -> None:
        super().__init__()
        self.config = config
        self.tokens_per_frame = tokens_per_frame
        width = config.model_channels
        self.time_embedding = NumberEmbedding(width, EMBEDDING * width)
        self.rate_embedding = rate_embedding(config.fps_condition, width, EMBEDDING * width)
        self.conv_in = nn.Conv2d(config.in_channels, width, 3, padding=1)
        build = Builder(config)
        self.initial = build.initial()
        self.down = nn.ModuleList(build.down())
        self.middle = build.middle()
        self.up = nn.ModuleList(build.up())
        self.norm_out = GroupNorm(config.norm_groups, width)
        self.conv_out = zero_init(nn.Conv2d(width, config.out_channels, 3, padding=1))
        for name, layer in self.cross_attentions().items():
            layer.name = name

    def cross_attentions(self) -> dict[str, CrossAttention]:
        """The layers that attend to the context, by name, in the order in which they run."""
        return {n: m for n, m in self.named_modules() if isinstance(m, CrossAttention)}

    def image_scales(self) -> dict[str, float]:
        """lambda of every layer that has an image stream, in order; 1.0 where it is fixed."""
        layers = self.cross_attentions().items()
        return {name: layer.stream("image").scale() for name, layer in layers if "image" in layer.streams}

    def project_context(self, context: Mapping[str, Tensor], frames: int) -> Projected:
        """Keys and values of `context` in every layer: computed once, used in every denoising step.

        context: "text" (B, L, D); "image" (B, T * tokens_per_frame, D), frame-major, or any other number.
        Raises ValueError when the streams are not those that this model attends to.
        """
        sets = {
            name: tokens.unflatten(1, self._sets(name, tokens.shape[1], frames))
            for name, tokens in context.items()
        }
        return Projected({name: layer.project(sets) for name, layer in self.cross_attentions().items()})

    def _sets(self, stream: str, tokens: int, frames: int) -> tuple[int, int]:
        """Into how many sets the tokens of a stream fall, one per frame or one for all; and tokens of a set."""
        per_frame = stream == "image" and tokens == frames * self.tokens_per_frame
        return (frames, self.tokens_per_frame) if per_frame else (1, tokens)

    def denoise(self, x: Tensor, t: Tensor, projected: Projected, fs: Tensor | None = None) -> Tensor:
        """One evaluation of the network.

        x: (B, in_channels, T, h, w); t: (B,) timestep, 0..999; fs: (B,) frame stride or FPS, None: default.
        Returns (B, out_channels, T, h, w). Raises ValueError when h or w cannot be halved often enough.
        """
        self._check(x)
        rate = torch.full_like(t, self.config.default_fps) if fs is None else fs
        embedding = F.silu(self.time_embedding(t) + self.rate_embedding(rate))
        signals = Signals(embedding, projected, frames=x.shape[2])
        out = self._run(channels_last(x.transpose(1, 2).flatten(0, 1)), signals)
        return out.unflatten(0, (x.shape[0], -1)).transpose(1, 2)

    def _run(self, x: Tensor, signals: Signals) -> Tensor:
        """((B T), in_channels, h, w) -> ((B T), out_channels, h, w): down, middle, up with the skips."""
        x = self.initial(self.conv_in(x), signals)
        skips = [x]
        for stage in self.down:
            x = stage(x, signals)
            skips.append(x)
        x = self.middle(x, signals)
        for stage in self.up:
            x = stage(torch.cat([x, skips.pop()], dim=1), signals)
        return self.conv_out(F.silu(self.norm_out(x)))

    def forward(
        self, x: Tensor, t: Tensor, context: Mapping[str, Tensor], fs: Tensor | None = None
    ) -> Tensor:
        """`denoise` with a context that is used only once; shapes as there and in `project_context`."""
        return self.denoise(x, t, self.project_context(context, x.shape[2]), fs)

    def _check(self, x: Tensor) -> None:
        factor = 2 ** (len(self.config.channel_mult) - 1)
        if x.shape[1] != self.config.in_channels or x.shape[3] % factor or x.shape[4] % factor:
            raise ValueError(
                f"the U-Net's input is {tuple(x.shape)}; it takes (B, {self.config.in_channels}, T, h, w) "
                f"with h and w multiples of {factor}"
            )


class Builder:
    """Makes the stages in order, and remembers the channels that the skips bring back on the way up."""

    def __init__(self, config: UNetConfig) -> None:
        self.config = config
        self.channels = config.model_channels
        self.skips = [config.model_channels]

    def initial(self) -> Stage:
        """A temporal transformer on the output of the first convolution; it has a width of its own."""
        c = self.config
        inner = c.init_attention_heads * c.num_head_channels
        args = (c.model_channels, inner, c.num_head_channels, c.transformer_depth, c.norm_groups)
        return Stage({"temporal": TemporalTransformer(*args)} if c.init_attention else {})

    def down(self) -> Iterator[Stage]:
        """Residual stages, and a downsampling between two levels."""
        for level, multiple in enumerate(self.config.channel_mult):
            for _ in range(self.config.num_res_blocks):
                yield self._skip(Stage(self._layers(level, multiple * self.config.model_channels)))
            if level < len(self.config.channel_mult) - 1:
                yield self._skip(Stage({"downsample": Downsample(self.channels)}))

    def _skip(self, stage: Stage) -> Stage:
        self.skips.append(self.channels)
        return stage

    def middle(self) -> Stage:
        """Residual, attention (at whatever resolution), residual."""
        first = self._residual(self.channels, "_in")
        attention = self._attention()
        return Stage({**first, **attention, **self._residual(self.channels, "_out")})

    def up(self) -> Iterator[Stage]:
        """As many stages as skips; the last of a level upsamples."""
        levels = list(enumerate(self.config.channel_mult))
        for level, multiple in reversed(levels):
            for number in range(self.config.num_res_blocks + 1):
                self.channels += self.skips.pop()
                layers = self._layers(level, multiple * self.config.model_channels)
                if level and number == self.config.num_res_blocks:
                    layers["upsample"] = Upsample(self.channels)
                yield Stage(layers)

    def _layers(self, level: int, channels: int) -> dict[str, nn.Module]:
        """Residual block, and attention where this level has it."""
        layers = self._residual(channels)
        if 2**level in self.config.attention_resolutions:
            layers.update(self._attention())
        return layers

    def _residual(self, channels: int, suffix: str = "") -> dict[str, nn.Module]:
        c = self.config
        embedding = EMBEDDING * c.model_channels
        block = ResidualBlock(self.channels, channels, embedding, c.norm_groups, c.dropout)
        self.channels = channels
        layers: dict[str, nn.Module] = {f"residual{suffix}": block}
        if c.temporal_conv:
            layers[f"temporal_conv{suffix}"] = TemporalConv(channels, c.norm_groups, c.dropout)
        return layers

    def _attention(self) -> dict[str, nn.Module]:
        c, width, head = self.config, self.channels, self.config.num_head_channels
        inner = width // head * head  # as many whole heads as fit
        if not inner:
            raise ValueError(f"num_head_channels is {head}; allowed: at most the channels of a level, {width}")
        args = (head, c.transformer_depth)
        spatial = SpatialTransformer(width, inner, *args, c.context_dim, c.image_stream, c.norm_groups)
        layers: dict[str, nn.Module] = {"spatial": spatial}
        if c.temporal_attention:
            layers["temporal"] = TemporalTransformer(width, inner, *args, c.norm_groups)
        return layers
