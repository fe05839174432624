"""The two measuring networks of the tiny world: a video classifier (FVD, KVD) and a perceptual embedding (PIC).

They are trained and frozen before any generator is looked at (`python -m bench pretrain classifier perceptual`), take
pixels in [-1, 1] and see nothing else. Shapes: B clips, T frames, N images, H x W = 32 x 32.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 64
HEADS = {"motion": 6, "shape": 4, "color": 6, "texture": 4, "accent": 3, "ground": 6}  # ground: two RGB colours


class _Block3d(nn.Module):
    """Convolution over time and space, normalised and rectified."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride, padding=1)
        self.norm = nn.GroupNorm(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(x)))


class VideoClassifier(nn.Module):
    """Names a procedural clip's motion, shape, colours and textures; its features stand in for I3D's logits.

    The features are the 64 numbers from which every head reads, so they hold what a clip shows and how it moves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _Block3d(3, 24, (1, 2, 2)),
            _Block3d(24, 48, (2, 2, 2)),
            _Block3d(48, 64, (1, 1, 1)),
            _Block3d(64, 96, (2, 2, 2)),
        )
        self.squeeze = nn.Conv3d(96, 16, 1)  # keeps where things are: pooled features forget the direction of motion
        self.embed = nn.Sequential(nn.Linear(16 * 2 * 4 * 4 + 96, 192), nn.SiLU(), nn.Linear(192, FEATURES))
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, width) for name, width in HEADS.items()})

    def forward(self, clips: Tensor) -> Tensor:  # (B, 3, 8, 32, 32) in [-1, 1] -> (B, 64)
        hidden = self.trunk(clips)
        where, what = self.squeeze(hidden).flatten(1), hidden.mean((2, 3, 4))
        return self.embed(torch.cat([where, what], 1))

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Head outputs, {name: (B, width)}, from features (B, 64)."""
        return {name: head(features) for name, head in self.heads.items()}


class PerceptualNet(nn.Module):
    """Embeds an image; the distance of two images is one minus the cosine of their embeddings (as DreamSim's D).

    Trained so that two frames of one video are near and frames of different videos are far.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        self.embed = nn.Sequential(nn.Linear(96 * 4 + 96, 128), nn.SiLU(), nn.Linear(128, FEATURES))

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, 32, 32) in [-1, 1] -> (N, 64)
        hidden = self.trunk(images)
        coarse, spread = F.adaptive_avg_pool2d(hidden, 2).flatten(1), hidden.std((2, 3))
        return self.embed(torch.cat([coarse, spread], 1))
