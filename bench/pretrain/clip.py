"""Trains the tiny text/image encoder pair: contrastively, as CLIP, on frames and captions.

CLIP's image tokens know far more of a picture than its caption says; a few thousand captions of a miniature world
cannot teach that. Two helpers stand in for the web: linear heads read the appearance that no caption names from the
class token and every patch's colours from its token, and one reads the motion word from the text embedding (a single
frame cannot teach it). The heads are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from bench.pretrain.data import HELD_OUT, PriorWorld, labels
from bench.pretrain.fit import Budget, fit
from datasets.procedural import captions, class_name, class_words, scene_from
from models.config import ClipConfig
from models.encoders import ClipPair, ImageEncoder

CLIP = Budget(steps=2500, learning_rate=1e-3, seed=31, batch=96, warmup=200)
IMAGE_HEADS = {"shape": 4, "color": 6, "texture": 4, "accent": 3, "ground": 6}
CELLS = 4  # a patch's colours are told on a grid of so many cells a side


class _Training(nn.Module):
    """The pair with the heads that only training needs."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.pair = ClipPair(config)
        self.image_heads = nn.ModuleDict({k: nn.Linear(config.vision_width, n) for k, n in IMAGE_HEADS.items()})
        self.patch_head = nn.Linear(config.vision_width, 3 * CELLS**2)
        self.motion_head = nn.Linear(config.embed_dim, 6)

    def image_tokens(self, pixels: Tensor) -> Tensor:
        encoder = ImageEncoder(self.pair.config)  # its modules are the pair's own: tokens exactly as P will see them
        for part in ("conv1", "ln_pre", "transformer", "class_embedding", "positional_embedding"):
            setattr(encoder.model.visual, part, getattr(self.pair.model.visual, part))
        return encoder(pixels)

    def image_embedding(self, tokens: Tensor) -> Tensor:
        visual = self.pair.model.visual
        return F.normalize(visual.ln_post(tokens[:, 0]) @ visual.proj, dim=-1)


def train_clip(
    world: PriorWorld, config: ClipConfig, log: Callable[[str], None], budget: Budget = CLIP
) -> tuple[ClipPair, dict[str, float]]:
    """The pair and its zero-shot accuracy: which of all 24 shape-and-colour captions fits a held-out frame."""
    truth = labels(world.scenes)
    pool = len(world.scenes) - HELD_OUT

    def loss(module: nn.Module, step: int, rng: np.random.Generator) -> Tensor:
        assert isinstance(module, _Training)
        index = rng.integers(0, pool, budget.batch)
        pixels = world.clip(index, 1, 1, rng)[:, :, 0]
        tokens = module.image_tokens(pixels)
        texts = module.pair.text_embedding(module.pair.tokenize(_captions(world, index, rng)))
        scores = module.pair.model.logit_scale.exp().clamp(max=50) * module.image_embedding(tokens) @ texts.T
        alike = _same_scene_words(truth, index)
        motion = F.cross_entropy(module.motion_head(texts * 8), truth["motion"][index])
        return _contrast(scores, alike) + motion + _appearance(module, tokens, pixels, truth, index)

    torch.manual_seed(budget.seed)
    trained = fit(_Training(config), loss, budget, log, probe=lambda m: str(_accuracy(m, world, truth)), every=250)
    assert isinstance(trained, _Training)
    return trained.pair, _accuracy(trained, world, truth)


def _captions(world: PriorWorld, index: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Fresh captions; one in five is the class name in words, as UCF-101 prompts are."""
    scenes = [scene_from(world.scenes[i]) for i in index]
    return [class_words(class_name(s)) if rng.uniform() < 0.2 else captions(s, rng, 1)[0] for s in scenes]


def _same_scene_words(truth: dict[str, Tensor], index: np.ndarray) -> Tensor:
    """Which pairs of a batch show a sprite of the same shape and colour: their captions fit both, (B, B)."""
    key = truth["shape"][index] * 16 + truth["color"][index]
    return (key[:, None] == key[None]).float()


def _contrast(scores: Tensor, alike: Tensor) -> Tensor:
    target = alike / alike.sum(1, keepdim=True)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def _appearance(
    module: _Training, tokens: Tensor, pixels: Tensor, truth: dict[str, Tensor], index: np.ndarray
) -> Tensor:
    found = {k: head(tokens[:, 0]) for k, head in module.image_heads.items()}
    total = F.mse_loss(found.pop("ground"), truth["ground"][index])
    total = total + 0.5 * sum(F.cross_entropy(v, truth[k][index]) for k, v in found.items())
    side = module.pair.config.image_size // module.pair.config.patch_size
    cells = F.adaptive_avg_pool2d(pixels, side * CELLS)
    colours = rearrange(cells, "b c (i y) (j x) -> b (i j) (c y x)", i=side, j=side)
    return total + F.mse_loss(module.patch_head(tokens[:, 1:]), colours)


@torch.no_grad()
def _accuracy(module: nn.Module, world: PriorWorld, truth: dict[str, Tensor]) -> dict[str, float]:
    from datasets.procedural import COLORS, SHAPES

    assert isinstance(module, _Training)
    index = np.arange(len(world.scenes) - HELD_OUT, len(world.scenes))
    pixels = world.clip(index, 1, 1, np.random.default_rng(0))[:, :, 0]
    tokens = module.image_tokens(pixels)
    texts = module.pair.tokenize([f"a {c} {s}" for s in SHAPES for c in COLORS])
    best = (module.image_embedding(tokens) @ module.pair.text_embedding(texts).T).argmax(1)
    right = best == truth["shape"][index] * len(COLORS) + truth["color"][index]
    ground = module.image_heads["ground"](tokens[:, 0])
    spread = torch.corrcoef(torch.stack([ground.flatten(), truth["ground"][index].flatten()]))[0, 1]
    patch = _appearance_error(module, tokens, pixels)
    return {"zero_shot": round(right.float().mean().item(), 3), "ground": round(spread.item(), 3), "patch_mse": patch}


def _appearance_error(module: _Training, tokens: Tensor, pixels: Tensor) -> float:
    side = module.pair.config.image_size // module.pair.config.patch_size
    cells = F.adaptive_avg_pool2d(pixels, side * CELLS)
    colours = rearrange(cells, "b c (i y) (j x) -> b (i j) (c y x)", i=side, j=side)
    return round(F.mse_loss(module.patch_head(tokens[:, 1:]), colours).item(), 4)
