"""Image tokens beside the text's: one row of context and one softmax, where DynamiCrafter has a stream for each.

Shapes: B clips, N image tokens of CLIP (class token first) of E channels, h x w latent sites, D channels of the
context; what a part adds to the text stream is (B, tokens, D), shared by all frames. Its keys and values are the
text's, which the spatial stages train.
Source: VideoComposer, arXiv:2306.02018, section 3 (an image embedding in cross-attention); I2VGen-XL,
arXiv:2311.04145, section 3 (base stage: hierarchical encoders); sizes and joins as in their public codes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ProjectorConfig

GLOBAL_TOKENS = 4  # that one image embedding becomes, as published
WIDTHS = (32, 64)  # channels of the detail encoder's first two convolutions, as published
GRID = 32  # sites to a side, at most, that the detail encoder keeps before it halves them twice, as published
LATENT_CHANNELS = 4


class GlobalTokens(nn.Module):
    """What the image is, in a few tokens: Linear, SiLU, Linear of its class token."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.linear_in = nn.Linear(config.embedding_dim, config.dim)
        self.linear_out = nn.Linear(config.dim, GLOBAL_TOKENS * config.output_dim)

    def forward(self, image_tokens: Tensor) -> Tensor:
        """(B, N, E) -> (B, GLOBAL_TOKENS, D)."""
        return self.linear_out(F.silu(self.linear_in(image_tokens[:, 0]))).unflatten(-1, (GLOBAL_TOKENS, -1))


class DetailTokens(nn.Module):
    """What is where: a small convolutional encoder of the condition latent, a token for every 4 x 4 of its sites."""

    def __init__(self, output_dim: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(LATENT_CHANNELS, WIDTHS[0], 3, padding=1)
        self.conv_down = nn.Conv2d(*WIDTHS, 3, stride=2, padding=1)
        self.conv_out = nn.Conv2d(WIDTHS[1], output_dim, 3, stride=2, padding=1)

    def forward(self, condition: Tensor) -> Tensor:
        """(B, 4, any, h, w), the first of which is seen -> (B, tokens, D)."""
        x = F.silu(self.conv_in(condition[:, :, 0]))
        x = F.adaptive_avg_pool2d(x, (min(x.shape[-2], GRID), min(x.shape[-1], GRID)))
        return self.conv_out(F.silu(self.conv_down(x))).flatten(2).transpose(1, 2)


class BesideText(nn.Module):
    """VideoComposer's way: one global image embedding beside the text.

    Simplified: the embedding is CLIP's class token as the other variants see it, not its projection into the space
    that CLIP shares with text; dropped, it is that of an all-zero image, not zeros.
    """

    sees_latent = False

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.image = GlobalTokens(config)

    def streams(self, image_tokens: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """(B, N, E), ignored -> tokens (B, 4, D) to stand beside the text's."""
        return {"text": self.image(image_tokens)}


class Hierarchical(nn.Module):
    """I2VGen-XL's way: semantics from CLIP and details from an encoder of its own, both beside the text.

    As in its released model of one stage, which sees text and image together; the paper's base stage has no text.
    Simplified: as in `BesideText`; the detail encoder pools to at most 32 x 32 sites, so that small latents keep
    theirs. As in the public code, the latent stays in every branch of guidance: "without the image" means without
    CLIP's tokens, as it does for the latent beside the noise.
    """

    sees_latent = True

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.detail = DetailTokens(config.output_dim)
        self.image = GlobalTokens(config)

    def streams(self, image_tokens: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """(B, N, E), (B, 4, any, h, w) -> tokens (B, details + 4, D); ValueError without a condition latent."""
        if condition is None:
            raise ValueError("context 'hierarchical' reads the condition latent; none was given")
        return {"text": torch.cat([self.detail(condition), self.image(image_tokens)], dim=1)}


BESIDE_TEXT: dict[str, type[BesideText | Hierarchical]] = {"beside_text": BesideText, "hierarchical": Hierarchical}
