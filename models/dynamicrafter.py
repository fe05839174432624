"""The trained part of DynamiCrafter: U-Net, context projector, visual detail guidance; and its parent models.

Shapes: B clips, T frames, h x w latent sites; latents (B, 4, T, h, w), text tokens (B, L, D), image tokens
(B, N, E).
Source: DynamiCrafter, arXiv:2310.12190, section 3.2 (the model), 3.3 (which parameters a stage trains).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.config import TEXT_STREAM_ALONE, ModelConfig, UNetConfig
from models.detail import DETAIL, detail
from models.projector import projector
from models.unet import VideoUNet

GROUPS = ("projector", "image_stream", "lambda", "detail", "conv_in", "spatial", "temporal")
TEMPORAL = {"temporal", "temporal_conv", "temporal_conv_in", "temporal_conv_out"}  # layers of a U-Net stage


def unet_config(config: ModelConfig) -> UNetConfig:
    """The U-Net that the two streams of `config` ask for.

    Channels of its input: the noisy ones and those of the visual detail guidance. Image stream: that of
    `config.unet`, but none where the context has none. Both follow from the streams, so a variant is named once.
    Raises ValueError when the context has an image stream but `config.unet` has none.
    """
    channels = config.unet.out_channels * (1 + DETAIL[config.visual_detail_guidance].copies)
    if config.context in TEXT_STREAM_ALONE:
        return replace(config.unet, in_channels=channels, image_stream="none")
    if config.unet.image_stream == "none":
        raise ValueError(
            f"context is {config.context!r} but unet.image_stream is 'none', which never looks at it; "
            "use image_stream 'learned' or 'fixed', or context 'none'"
        )
    return replace(config.unet, in_channels=channels)


class DynamiCrafter(nn.Module):
    """Denoises a clip, given a text, an image's tokens and its latent."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.detail = detail(config.visual_detail_guidance)
        self.projector = projector(config.projector, config.context)
        self.unet = VideoUNet(unet_config(config), config.projector.tokens_per_frame)

    def context(self, text: Tensor, image_tokens: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """(B, L, D), (B, N, E) -> the streams: "text" (B, L, D), "image" (B, T * Q, D) where there is one.

        Tokens that a context adds to the text stand behind it: "text" (B, L + tokens, D).
        condition: (B, 4, any, h, w), for a context that sees the latent (`projector.sees_latent`), else ignored.
        """
        added = self.projector.streams(image_tokens, condition)
        beside = added.pop("text", text[:, :0])
        return {"text": torch.cat([text, beside], dim=1), **added}

    def forward(
        self,
        z_t: Tensor,
        t: Tensor,
        context: Mapping[str, Tensor],
        condition: Tensor,
        fs: Tensor | None = None,
    ) -> Tensor:
        """Noisy latents (B, 4, T, h, w) -> noise or velocity, same shape.

        t: (B,); context: the streams; condition: (B, 4, 1|T, h, w); fs: (B,), None: the default.
        """
        return self.unet(self.detail(z_t, condition), t, context, fs)

    def image_scales(self) -> dict[str, float]:
        """lambda per cross-attention layer, in order; 1.0 where it is fixed, {} without an image stream."""
        return self.unet.image_scales()

    def parameter_groups(self) -> dict[str, list[str]]:
        """{group: names}, every parameter in exactly one group; the groups are what training stages name."""
        groups: dict[str, list[str]] = {group: [] for group in GROUPS}
        for name, _ in self.named_parameters():
            groups[parameter_group(name)].append(name)
        return groups


def parameter_group(name: str) -> str:
    """The group of the parameter called `name`, one of GROUPS."""
    parts = name.split(".")
    if parts[0] in ("projector", "detail"):
        return parts[0]
    if "image" in parts:  # ...cross_attention.streams.image.<to_k, to_v or alpha>
        return "lambda" if parts[-1] == "alpha" else "image_stream"
    if parts[1] == "conv_in":
        return "conv_in"
    return "temporal" if TEMPORAL & set(parts) else "spatial"


def text_to_video(config: ModelConfig) -> ModelConfig:
    """The video model that `config` starts from: no image in any form."""
    unet = replace(config.unet, in_channels=config.unet.out_channels, image_stream="none")
    return replace(config, unet=unet, context="none", visual_detail_guidance="none")


def image_half(config: ModelConfig) -> ModelConfig:
    """`config` for single images: the layers that mix frames, and the frame rate, are left out."""
    unet = replace(
        config.unet, temporal_conv=False, temporal_attention=False, init_attention=False, fps_condition=False
    )
    return replace(config, unet=unet)


def text_to_image(config: ModelConfig) -> ModelConfig:
    """The image model that `text_to_video(config)` starts from; its state dict is a subset of that one's."""
    return image_half(text_to_video(config))
