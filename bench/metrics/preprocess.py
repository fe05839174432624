"""How do clips become the input of a video network? Every public way, by name.

Shapes: clips (B, T, H, W, 3) uint8 -> (B, 3, T, size, size) float32, in [-1, 1] unless the words say otherwise.
`size` is the network's own: 224 for I3D. All arithmetic is float32, frame by frame, so a frame's values depend on that
frame alone.
Source: each pipeline names the public code that feeds its network so. They are not interchangeable: antialiasing alone
can move I3D's logits by more than the difference of two clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Pipeline:
    """A named way from bytes to a network's input; `words` stand in a protocol, `users` is the code that works so."""

    name: str
    words: str
    users: str
    apply: Callable[[Tensor, int], Tensor]  # frames (N, 3, H, W) of one clip as float32 0..255, size -> network input

    def __call__(self, clips: Tensor, size: int) -> Tensor:
        """Clips (B, T, H, W, 3) uint8 as (B, 3, T, size, size) float32.

        Raises ValueError for another shape or kind, or a size below 1.
        """
        if clips.dtype != torch.uint8 or clips.ndim != 5 or clips.shape[-1] != 3 or 0 in clips.shape:
            raise ValueError(
                f"{self.name}: clips {tuple(clips.shape)} {clips.dtype}; wanted (B, T, H, W, 3) torch.uint8, none empty"
            )
        if size < 1:
            raise ValueError(f"{self.name}: size is {size}; wanted the side of the network's input in pixels")
        ready = [self.apply(clip.permute(0, 3, 1, 2).contiguous().float(), size) for clip in clips]
        return torch.stack(ready).permute(0, 2, 1, 3, 4).contiguous()


def _squash(frames: Tensor, size: int, antialias: bool = False) -> Tensor:
    """(N, 3, H, W) -> (N, 3, size, size); the aspect is not kept. Pixel centres at half-integers."""
    return F.interpolate(frames, (size, size), mode="bilinear", align_corners=False, antialias=antialias)


def _short_side(frames: Tensor, size: int) -> Tensor:
    """Shorter side to `size`, the other to the next whole pixel, then the middle: (N, 3, size, size)."""
    height, width = frames.shape[-2:]
    scale = size / min(height, width)
    # float, as in the public code: a whole number may be rounded up by one, which the crop then takes off again
    target = (size, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), size)
    resized = F.interpolate(frames, target, mode="bilinear", align_corners=False)
    top, left = (resized.shape[-2] - size) // 2, (resized.shape[-1] - size) // 2
    return resized[..., top : top + size, left : left + size]


def _direct(frames: Tensor, size: int) -> Tensor:
    return 2.0 * _squash(frames, size) / 255.0 - 1.0


def _direct_antialias(frames: Tensor, size: int) -> Tensor:
    return 2.0 * _squash(frames, size, antialias=True) / 255.0 - 1.0


def _crop(frames: Tensor, size: int) -> Tensor:
    return (_short_side(frames / 255.0, size) - 0.5) * 2.0


def _crop_truncated(frames: Tensor, size: int) -> Tensor:
    return _crop((frames / 255.0 * 255.0).to(torch.uint8).float(), size)


def _crop_half_range(frames: Tensor, size: int) -> Tensor:
    return _short_side(frames / 255.0, size) - 0.5


def _trilinear(frames: Tensor, size: int) -> Tensor:
    clip = (frames / 255.0 * 2.0 - 1.0).transpose(0, 1).unsqueeze(0)  # (1, 3, T, H, W)
    resized = F.interpolate(clip, (len(frames), size, size), mode="trilinear", align_corners=False)
    return resized.squeeze(0).transpose(0, 1)


def _legacy(frames: Tensor, size: int) -> Tensor:
    rows, rows_next, down = _corner_aligned(frames.shape[-2], size, frames.device)
    columns, columns_next, along = _corner_aligned(frames.shape[-1], size, frames.device)
    left = frames[..., columns]
    across = left + (frames[..., columns_next] - left) * along
    above = across[..., rows, :]
    resized = above + (across[..., rows_next, :] - above) * down[:, None]
    return 2.0 * resized / 255.0 - 1.0


def _corner_aligned(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Along one axis: source pixels before and after each target pixel, and how far between them it lies.

    The first TensorFlow put source pixel i * length / size under target pixel i (neither corners nor centres aligned).
    """
    step = torch.tensor(length, dtype=torch.float32) / size
    position = torch.arange(size, dtype=torch.float32) * step
    before = position.floor()
    after = (before + 1).clamp(max=length - 1)
    return before.long().to(device), after.long().to(device), (position - before).to(device)


_KNOWN = (
    Pipeline(
        "direct_bilinear",
        "squashed to the network's size, bilinear, pixel centres aligned, no antialiasing, then to [-1, 1]",
        "TATS, LVDM, cd-fvd",
        _direct,
    ),
    Pipeline(
        "shortside_crop_float",
        "shorter side to the network's size, bilinear without antialiasing, centre crop, to [-1, 1]",
        "common_metrics (styleganv)",
        _crop,
    ),
    Pipeline(
        "shortside_crop_videogpt",
        "shorter side to the network's size, bilinear without antialiasing, centre crop, less 0.5, times 2",
        "VideoGPT's geometry, at the range of its successors",
        _crop,
    ),
    Pipeline(
        "shortside_crop_cmvq_videogpt_trunc",
        "truncated to bytes, shorter side to the network's size, bilinear without antialiasing, centre crop, "
        "to [-1, 1]",
        "common_metrics (videogpt)",
        _crop_truncated,
    ),
    Pipeline(
        "shortside_crop_videogpt_half_range",
        "shorter side to the network's size, bilinear without antialiasing, centre crop, to [-0.5, 0.5] and no further",
        "VideoGPT as first released",
        _crop_half_range,
    ),
    Pipeline(
        "direct_trilinear_5d",
        "to [-1, 1], then squashed to the network's size as a volume, trilinear, no antialiasing",
        "what the StyleGAN-V archive may do with resize=True (not seen)",
        _trilinear,
    ),
    Pipeline(
        "tf1_legacy_bilinear",
        "squashed to the network's size, bilinear on TensorFlow 1's grid (neither corners nor centres aligned), "
        "to [-1, 1]",
        "the original FVD (TF-GAN)",
        _legacy,
    ),
    Pipeline(
        "direct_bilinear_antialias",
        "squashed to the network's size, bilinear with antialiasing, to [-1, 1]",
        "nobody known; shows what antialiasing changes",
        _direct_antialias,
    ),
)
PIPELINES: dict[str, Pipeline] = {pipeline.name: pipeline for pipeline in _KNOWN}
