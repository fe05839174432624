"""Trains the tiny autoencoder: 32 x 32 frames to 8 x 8 latents of four channels and back.

After training the latents are brought to unit variance at Stable Diffusion's scale factor, by folding one number into
the two 1 x 1 convolutions, so that the tiny world needs no scale of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.pretrain.data import HELD_OUT, PriorWorld
from bench.pretrain.fit import Budget, fit
from models.autoencoder import Autoencoder
from models.config import AutoencoderConfig

VAE = Budget(steps=4500, learning_rate=1.2e-3, seed=21, batch=20, warmup=150)
KL_WEIGHT = 1e-6


def train_autoencoder(
    world: PriorWorld, config: AutoencoderConfig, log: Callable[[str], None], budget: Budget = VAE
) -> tuple[Autoencoder, dict[str, float]]:
    """The autoencoder and its reconstruction quality (PSNR in dB of 8-bit values, held-out videos)."""
    pool = len(world.scenes) - HELD_OUT

    def loss(module: torch.nn.Module, step: int, rng: np.random.Generator) -> Tensor:
        assert isinstance(module, Autoencoder)
        frames = world.clip(rng.integers(0, pool, budget.batch), 1, 1, rng)[:, :, 0]
        mean, logvar = module.moments(frames)
        noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32))
        z = mean + torch.exp(0.5 * logvar) * noise
        found = module.decoder(module.post_quant_conv(z))
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return F.mse_loss(found, frames) + 0.1 * F.l1_loss(found, frames) + KL_WEIGHT * divergence

    torch.manual_seed(budget.seed)
    trained = fit(
        Autoencoder(config), loss, budget, log, probe=lambda m: f"PSNR {_psnr(m, world):.2f} dB", every=250
    )
    assert isinstance(trained, Autoencoder)
    _unit_variance(trained, _held_out(world))
    return trained, {"psnr_db": round(_psnr(trained, world), 2)}


def _held_out(world: PriorWorld) -> Tensor:
    index = np.arange(len(world.scenes) - HELD_OUT, len(world.scenes))
    return world.clip(index, 1, 1, np.random.default_rng(0))[:, :, 0]


@torch.no_grad()
def _psnr(module: torch.nn.Module, world: PriorWorld) -> float:
    assert isinstance(module, Autoencoder)
    frames = _held_out(world)
    found = module(frames[:, :, None])[:, :, 0].clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(found, frames)))


@torch.no_grad()
def _unit_variance(module: Autoencoder, frames: Tensor) -> None:
    mean, _ = module.moments(frames)
    gain = 1 / (module.config.scale_factor * mean.std())
    half = mean.shape[1]
    bias = module.quant_conv.bias
    assert bias is not None
    module.quant_conv.weight[:half] *= gain
    bias[:half] *= gain
    bias[half:] += 2 * torch.log(gain)
    module.post_quant_conv.weight /= gain
