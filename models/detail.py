"""Visual detail guidance: how the latent of the condition frame stands beside the noisy latents.

Shapes: noisy latents (B, 4, T, h, w); condition latents (B, 4, 1, h, w) or one per frame (B, 4, T, h, w),
scaled alike; the U-Net's input is (B, 4 + 4 copies, T, h, w), noisy channels first.
Source: DynamiCrafter, arXiv:2310.12190, section 3.2; `first_and_last`: the official interpolation model;
`stc_encoder`, `first_frame`: other systems' ways, `models/condition_encoder.py`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from models.condition_encoder import FirstFrame, STCEncoder


class Detail(Protocol):
    """A part that makes the U-Net's input."""

    copies: int  # of the latent's channels that it adds to the input

    def __call__(self, z_t: Tensor, condition: Tensor) -> Tensor:
        """Noisy latents and condition latents -> U-Net input."""
        ...


class Repeat(nn.Module):
    """The condition latent beside every frame; one per frame is taken as it is."""

    copies = 1

    def forward(self, z_t: Tensor, condition: Tensor) -> Tensor:
        """(B, 4, T, h, w), (B, 4, 1|T, h, w) -> (B, 8, T, h, w); ValueError for another number of frames."""
        frames, given = z_t.shape[2], condition.shape[2]
        if given not in {1, frames}:
            raise ValueError(f"the condition has {given} frames; allowed: 1, or {frames} as the clip")
        return torch.cat([z_t, condition.expand(-1, -1, frames, -1, -1)], dim=1)


class FirstAndLast(nn.Module):
    """The first condition latent beside the first frame, the last one beside the last, zeros between.

    Two condition frames: interpolation. One: a loop, the clip ends as it begins.
    """

    copies = 1

    def forward(self, z_t: Tensor, condition: Tensor) -> Tensor:
        """(B, 4, T, h, w), (B, 4, any, h, w) -> (B, 8, T, h, w)."""
        ends = torch.zeros_like(z_t)
        ends[:, :, 0] = condition[:, :, 0]
        ends[:, :, -1] = condition[:, :, -1]
        return torch.cat([z_t, ends], dim=1)


class NoDetail(nn.Module):
    """The model is not shown the condition latent."""

    copies = 0

    def forward(self, z_t: Tensor, condition: Tensor) -> Tensor:
        """(B, 4, T, h, w), ignored -> the noisy latents."""
        return z_t


AnyDetail = Repeat | FirstAndLast | NoDetail | STCEncoder | FirstFrame
DETAIL: dict[str, type[AnyDetail]] = {
    "repeat": Repeat,
    "first_and_last": FirstAndLast,
    "none": NoDetail,
    "stc_encoder": STCEncoder,
    "first_frame": FirstFrame,
}


def detail(kind: str) -> AnyDetail:
    """The part that `kind` names (a key of DETAIL, else ValueError)."""
    if kind not in DETAIL:
        raise ValueError(f"visual_detail_guidance is {kind!r}; known: {', '.join(DETAIL)}")
    return DETAIL[kind]()
