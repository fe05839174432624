"""The condition encoded before it stands beside the noise: the input parts of VideoComposer and I2VGen-XL.

Shapes: as in `models/detail.py`: noisy latents (B, 4, T, h, w), condition latents (B, 4, any, h, w); a sequence of
T frames (B, 4, T, h, w) is encoded to the same shape and concatenated to the noisy channels. The U-Net's weights for
what is added start at zero (`models/initialise.py`), so the model starts as what it was.
Source: VideoComposer, arXiv:2306.02018, section 3 (STC-encoder); I2VGen-XL, arXiv:2311.04145, section 3; both
public codes: convolutions inside each frame, then one temporal transformer layer at each site.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import SelfAttention

LATENT_CHANNELS = 4
WIDER = 4  # inner width of the convolutions and of the feed-forward layer over the latent's channels
HEADS = 2


class ConditionEncoder(nn.Module):
    """Convolutions inside each frame of a sequence, then its frames attend to each other at each site.

    The convolutions start at a scale that keeps the latent's: with PyTorch's own a tenth of it would come through,
    and a short stage would be over before the U-Net had seen the image.
    """

    copies = 1

    def __init__(self) -> None:
        super().__init__()
        channels, wide = LATENT_CHANNELS, WIDER * LATENT_CHANNELS
        self.conv_in = nn.Conv2d(channels, wide, 3, padding=1)
        self.conv_middle = nn.Conv2d(wide, wide, 3, padding=1)
        self.conv_out = nn.Conv2d(wide, channels, 3, padding=1)
        for conv in (self.conv_in, self.conv_middle, self.conv_out):
            nn.init.kaiming_normal_(conv.weight)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels, channels // HEADS)
        self.norm2 = nn.LayerNorm(channels)
        self.linear_in = nn.Linear(channels, wide)
        self.linear_out = nn.Linear(wide, channels)

    def sequence(self, condition: Tensor, frames: int) -> Tensor:
        """(B, 4, any, h, w) -> what is encoded (B, 4, T, h, w)."""
        raise NotImplementedError

    def encode(self, sequence: Tensor) -> Tensor:
        """(B, 4, T, h, w) -> same."""
        x = F.silu(self.conv_in(sequence.transpose(1, 2).flatten(0, 1)))
        x = self.conv_out(F.silu(self.conv_middle(x))).flatten(2).transpose(1, 2)  # ((B T), h w, 4)
        x = x.unflatten(0, (len(sequence), -1))
        x = x + self.attention(self.norm1(x))
        x = x + self.linear_out(F.gelu(self.linear_in(self.norm2(x))))
        return x.permute(0, 3, 1, 2).unflatten(-1, sequence.shape[-2:])

    def forward(self, z_t: Tensor, condition: Tensor) -> Tensor:
        """(B, 4, T, h, w), (B, 4, any, h, w) -> (B, 8, T, h, w)."""
        return torch.cat([z_t, self.encode(self.sequence(condition, z_t.shape[2]))], dim=1)


class STCEncoder(ConditionEncoder):
    """VideoComposer's spatio-temporal condition encoder of a single image, which is repeated for every frame.

    Simplified: of its conditions the image alone; it reads the image's latent, not its pixels, so there is nothing
    to pool: the latent has the sites of the noise already, and no convolution has a stride. Frames that are all
    equal stay so: its temporal layer is there for sequences.
    """

    def sequence(self, condition: Tensor, frames: int) -> Tensor:
        """(B, 4, any, h, w), the first of which is seen -> (B, 4, T, h, w)."""
        return condition[:, :, :1].expand(-1, -1, frames, -1, -1)


class FirstFrame(ConditionEncoder):
    """I2VGen-XL's: the latent stands at the first frame, all others are told where in the clip they are.

    Frame t > 0 holds t / (T - 1) at every site, as in the public code, whose encoder this is; the paper adds details
    to the first frame's noise. Simplified: narrower attention heads, no dropout.
    """

    def sequence(self, condition: Tensor, frames: int) -> Tensor:
        """(B, 4, any, h, w), the first of which is seen -> (B, 4, T, h, w)."""
        first = condition[:, :, :1]
        place = torch.linspace(0, 1, frames, dtype=first.dtype, device=first.device)[1:, None, None]
        return torch.cat([first, place.expand(*first.shape[:2], -1, *first.shape[-2:])], dim=2)
