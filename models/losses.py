"""What does a training step minimise: the network's distance from the target, some conditions dropped.

Shapes: B samples, T frames, L text positions of D channels, N image tokens of E channels, h x w latent sites.
Source: DynamiCrafter section 3.2 and the official training step (v-prediction and dynamic rescale as in its
512 and 1024 models). Every random number comes from the caller, so a loss is a function of its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.schedule import Schedule


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step."""

    timesteps: Tensor  # (B,) int64, 0..999
    noise: Tensor  # standard normal like the latent
    dropout: Tensor  # (B,) uniform in [0, 1): which conditions are dropped


@dataclass(frozen=True)
class TrainBatch:
    """What one step learns from. Latents are scaled by the autoencoder's scale_factor."""

    latent: Tensor  # (B, 4, T, h, w)
    condition: Tensor  # (B, 4, 1, h, w) of one frame, or (B, 4, T, h, w); never dropped
    text: Tensor  # (B, L, D)
    image_tokens: Tensor  # (B, N, E) of the condition frame
    fs: Tensor  # (B,) frame stride or frames per second


@dataclass(frozen=True)
class Nulls:
    """What stands in for a dropped condition."""

    text: Tensor  # (1, L, D) of the empty prompt
    image_tokens: Tensor  # (1, N, E) of an all-zero image


@dataclass(frozen=True)
class Loss:
    """Mean squared error over all elements."""

    per_sample: Tensor  # (B,)
    value: Tensor  # (), the mean over samples


class Network(Protocol):
    """What the loss needs of a model; `models.dynamicrafter.DynamiCrafter` is one."""

    def context(self, text: Tensor, image_tokens: Tensor, condition: Tensor) -> dict[str, Tensor]: ...

    def __call__(
        self, z_t: Tensor, t: Tensor, context: dict[str, Tensor], condition: Tensor, fs: Tensor
    ) -> Tensor: ...


def drop_conditions(batch: TrainBatch, nulls: Nulls, r: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Text (B, L, D) and image tokens (B, N, E) after dropping.

    One number r per sample decides both: text is dropped where r < 2p, the image where p <= r < 3p. So p text
    alone, p both, p the image alone, 1 - 3p neither.

    Raises:
        ValueError: p outside 0..1/3.
    """
    if not 0.0 <= p <= 1 / 3:
        raise ValueError(f"train.uncond_prob is {p}; allowed: 0 to 1/3 (three cases, each that likely)")
    no_text = (r < 2 * p).view(-1, 1, 1)
    no_image = ((r >= p) & (r < 3 * p)).view(-1, 1, 1)
    text = torch.where(no_text, nulls.text.to(batch.text), batch.text)
    image = torch.where(no_image, nulls.image_tokens.to(batch.image_tokens), batch.image_tokens)
    return text, image


def diffuse(schedule: Schedule, latent: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """x_t that the network sees and the target it should answer, both (B, 4, T, h, w).

    Only the diffused latent takes the dynamic rescale, and the target uses the rescaled one; the condition
    latent is never rescaled.
    """
    t = draws.timesteps
    z = latent * schedule.z_scale(t, latent)
    return schedule.add_noise(z, draws.noise, t), schedule.target(z, draws.noise, t)


def training_loss(
    model: Network, schedule: Schedule, batch: TrainBatch, draws: Draws, nulls: Nulls, uncond_prob: float
) -> Loss:
    """The objective on one batch.

    Raises:
        ValueError: noise of another shape than the latent; uncond_prob outside 0..1/3.
    """
    if draws.noise.shape != batch.latent.shape:
        raise ValueError(
            f"training_loss: noise has shape {tuple(draws.noise.shape)}; allowed: {tuple(batch.latent.shape)}"
        )
    text, image_tokens = drop_conditions(batch, nulls, draws.dropout, uncond_prob)
    x_t, target = diffuse(schedule, batch.latent, draws)
    context = model.context(text, image_tokens, batch.condition)
    out = model(x_t, draws.timesteps, context, batch.condition, batch.fs)
    error = (out.float() - target.float()).square()
    per_sample = error.flatten(1).mean(dim=1)
    return Loss(per_sample, per_sample.mean())
