"""What do the three vision transformers of DreamSim see in an image? ViT-B/16 as DINO, CLIP and OpenCLIP trained it.

Shapes: images (B, 3, 224, 224) normalised for the branch; tokens (B, 1 + N, E), class token first, N patches.
Parameter names are DINO's, in which DreamSim's checkpoints store all three.
Source: Dosovitskiy et al., arXiv:2010.11929. CLIP norms its tokens before the first block (`pos_drop`, the name of the
place in DINO's code), has its own activation, and projects the class token; OpenCLIP has the usual activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class VitSize:
    """Sizes of a vision transformer; the default is ViT-B/16 at 224 pixels."""

    image: int = 224
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12

    @property
    def tokens(self) -> int:
        """Patches of an image, and the class token."""
        return (self.image // self.patch) ** 2 + 1


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Every token attends to every token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, E) -> same
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, E / heads)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Each token by itself."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each normed before and added after."""

    def __init__(self, size: VitSize, activation: Activation, eps: float) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(size.width, eps), Attention(size.width, size.heads)
        self.norm2, self.mlp = nn.LayerNorm(size.width, eps), Mlp(size.width, activation)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """An image as a row of patches."""

    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, size.width, size.patch, size.patch)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, N, E)
        return self.proj(images).flatten(2).transpose(1, 2)


class Trunk(nn.Module):
    """Tokens of the last block, before the last norm. `width`: of what a branch answers."""

    def __init__(self, size: VitSize, activation: Activation, eps: float, first: nn.Module, width: int) -> None:
        super().__init__()
        self.side, self.width = size.image, width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, size.tokens, size.width))
        self.patch_embed = PatchEmbed(size)
        self.pos_drop = first
        self.blocks = nn.Sequential(*(Block(size, activation, eps) for _ in range(size.depth)))
        self.norm = nn.LayerNorm(size.width, eps)

    def tokens(self, images: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, 1 + N, E)
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), self.patch_embed(images)], 1)
        return self.blocks(self.pos_drop(x + self.pos_embed))


class Dino(Trunk):
    """DINO: the class token as the last block leaves it. Its last norm is in the file, and not used."""

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, size: VitSize | None = None) -> None:
        size = size or VitSize()
        super().__init__(size, F.gelu, 1e-6, nn.Identity(), size.width)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, E)
        return self.tokens(images)[:, 0]


class OpenClip(Trunk):
    """OpenCLIP: the class token normed and projected to the space that images and texts share."""

    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    activation: Activation = staticmethod(F.gelu)

    def __init__(self, size: VitSize | None = None, joint: int = 512) -> None:
        size = size or VitSize()
        super().__init__(size, self.activation, 1e-5, nn.LayerNorm(size.width, 1e-5), joint)
        self.proj = nn.Parameter(torch.zeros(size.width, joint))

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, joint)
        return self.norm(self.tokens(images)[:, 0]) @ self.proj


class Clip(OpenClip):
    """OpenAI's CLIP: as OpenCLIP, with its own activation."""

    activation = staticmethod(quick_gelu)
