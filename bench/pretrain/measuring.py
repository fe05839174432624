"""Trains the measuring networks of the tiny world: the video classifier and the perceptual embedding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.metrics.networks import PerceptualNet, VideoClassifier
from bench.pretrain.data import HELD_OUT, STRIDES, PriorWorld, labels, to_pixels
from bench.pretrain.fit import Budget, fit

Log = Callable[[str], None]
CLASSIFIER = Budget(steps=1500, learning_rate=2e-3, seed=11, batch=48)
PERCEPTUAL = Budget(steps=1200, learning_rate=2e-3, seed=12, batch=128)


def train_classifier(world: PriorWorld, log: Log, budget: Budget = CLASSIFIER) -> tuple[nn.Module, dict[str, float]]:
    """The video classifier and its accuracies on held-out videos (ground: correlation of colours)."""
    truth = labels(world.scenes)
    pool = len(world.scenes) - HELD_OUT

    def loss(module: nn.Module, step: int, rng: np.random.Generator) -> Tensor:
        index = rng.integers(0, pool, budget.batch)
        clips = world.clip(index, 8, rng.choice(STRIDES, len(index)), rng)
        clips = clips + torch.from_numpy(rng.normal(0, 0.03, clips.shape).astype(np.float32))
        return _heads_loss(module, clips, {k: v[index] for k, v in truth.items()})

    torch.manual_seed(budget.seed)
    network = VideoClassifier()
    trained = fit(network, loss, budget, log, probe=lambda m: str(_accuracies(m, world, truth)), every=250)
    return trained, _accuracies(trained, world, truth)


def _heads_loss(module: nn.Module, clips: Tensor, truth: dict[str, Tensor]) -> Tensor:
    assert isinstance(module, VideoClassifier)
    features = module(clips)
    found = module.classify(features)
    ground = F.mse_loss(found.pop("ground"), truth["ground"])
    decay = 1e-3 * features.square().mean()  # keeps the features' scale from drifting
    return sum((F.cross_entropy(v, truth[k]) for k, v in found.items()), ground + decay)


@torch.no_grad()
def _accuracies(module: nn.Module, world: PriorWorld, truth: dict[str, Tensor]) -> dict[str, float]:
    assert isinstance(module, VideoClassifier)
    index = np.arange(len(world.scenes) - HELD_OUT, len(world.scenes))
    clips = world.clip(index, 8, 3, np.random.default_rng(0))
    found = module.classify(module(clips))
    right = {k: (found[k].argmax(1) == truth[k][index]).float().mean().item() for k in found if k != "ground"}
    spread = torch.corrcoef(torch.stack([found["ground"].flatten(), truth["ground"][index].flatten()]))
    return {k: round(v, 3) for k, v in {**right, "ground": spread[0, 1].item()}.items()}


def train_perceptual(world: PriorWorld, log: Log, budget: Budget = PERCEPTUAL) -> tuple[nn.Module, dict[str, float]]:
    """The perceptual embedding and how well it tells a video's own frames from other videos' frames."""
    pool = len(world.scenes) - HELD_OUT

    def loss(module: nn.Module, step: int, rng: np.random.Generator) -> Tensor:
        index = rng.choice(pool, budget.batch, replace=False)
        first, second = (_views(world, index, rng) for _ in range(2))
        a, b = (F.normalize(module(x), dim=1) for x in (first, second))
        scores, same = a @ b.T / 0.1, torch.arange(len(index))
        return (F.cross_entropy(scores, same) + F.cross_entropy(scores.T, same)) / 2

    torch.manual_seed(budget.seed)
    trained = fit(PerceptualNet(), loss, budget, log, probe=lambda m: str(_retrieval(m, world)), every=200)
    return trained, _retrieval(trained, world)


def _views(world: PriorWorld, index: np.ndarray, rng: np.random.Generator) -> Tensor:
    """One frame of each video, a little noise and a little light: what the distance should not mind."""
    pixels = world.clip(index, 1, 1, rng)[:, :, 0]
    light = torch.from_numpy(rng.normal(0, 0.03, (len(index), 3, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 0.05, pixels.shape).astype(np.float32))
    return pixels + light + noise


@torch.no_grad()
def _retrieval(module: nn.Module, world: PriorWorld) -> dict[str, float]:
    index = np.arange(len(world.scenes) - HELD_OUT, len(world.scenes))
    first, last = (to_pixels(world.frames[index, k : k + 1])[:, :, 0] for k in (0, 21))
    a, b = (F.normalize(module(x), dim=1) for x in (first, last))
    scores = a @ b.T
    right = (scores.argmax(1) == torch.arange(len(index))).float().mean().item()
    own = scores.diagonal().mean().item()
    other = (scores.sum() - scores.diagonal().sum()).item() / (len(index) * (len(index) - 1))
    return {"retrieval": round(right, 3), "own": round(own, 3), "other": round(other, 3)}
