"""How is a latent drawn: DDIM over a denoiser, which may be anything that answers (x, t).

Shapes: x (B, 4, T, h, w) of any B, t (B,) int64; the answer is shaped like x and is what the schedule's
prediction says (eps or v), guidance included.
Source: Song et al. arXiv:2010.02502 eq. 12; the official sampler's dynamic rescale of x0 and its last step,
which goes to alphas_cumprod[0] and not to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from models.config import SamplerConfig
from models.prediction import Prediction
from models.schedule import DdimTable, Schedule

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x (B, ...), t (B,) int64) -> (B, ...)
StepNoise = Callable[[int], Tensor]  # step 0, 1, ... -> standard normal shaped like x
OnStep = Callable[[int, Tensor, Tensor], None]  # step, x after it, the clean latent it predicted


def ddim_step(
    x: Tensor, out: Tensor, table: DdimTable, index: int, prediction: Prediction
) -> tuple[Tensor, Tensor]:
    """One step without its noise: (mean of x at the next timestep, predicted clean latent), both like x.

    x_prev = sqrt(a_prev) x0 + sqrt(1 - a_prev - sigma^2) eps. With zero terminal SNR and eta 1 the radicand
    is -6e-8 in float32 for many step counts; it is computed in float64 and clamped at 0.
    """
    alpha, alpha_prev, sigma = (float(c[index]) for c in (table.alphas, table.alphas_prev, table.sigmas))
    a, s = math.sqrt(alpha), math.sqrt(max(1.0 - alpha, 0.0))
    eps = prediction.eps(x, out, a, s)
    x0 = prediction.x0(x, out, a, s) * float(table.scale_prev[index] / table.scale[index])
    direction = math.sqrt(max(1.0 - alpha_prev - sigma**2, 0.0))
    return math.sqrt(alpha_prev) * x0 + direction * eps, x0


@torch.no_grad()
def sample_ddim(
    denoise: Denoise,
    schedule: Schedule,
    config: SamplerConfig,
    x_T: Tensor,
    step_noise: StepNoise | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Draws latents from noise: (B, 4, T, h, w) -> same, at the scale of the schedule's smallest timestep.

    Args:
        denoise: the guided answer of a network.
        schedule: the forward process and what the network predicts.
        config: steps, spacing and eta (guidance is the denoiser's).
        x_T: standard normal.
        step_noise: noise of each step, asked in order; needed when eta > 0, never asked when eta is 0.
        on_step: told after every step.

    Raises:
        ValueError: eta > 0 without step_noise, or noise of another shape; steps, spacing or eta not allowed.
    """
    table = schedule.ddim(config.spacing, config.steps, config.eta)
    noisy = config.eta > 0
    if noisy and step_noise is None:
        raise ValueError(
            f"sample_ddim: eta is {config.eta} but there is no step_noise; give it, or set eta to 0"
        )
    x = x_T
    for step, index in enumerate(reversed(range(len(table)))):
        t = torch.full((x.shape[0],), int(table.timesteps[index]), dtype=torch.int64, device=x.device)
        x, x0 = ddim_step(x, denoise(x, t), table, index, schedule.prediction)
        if noisy and step_noise is not None:
            x = x + float(table.sigmas[index]) * _checked(step_noise(step), x, step)
        if on_step is not None:
            on_step(step, x, x0)
    return x


def _checked(noise: Tensor, x: Tensor, step: int) -> Tensor:
    """The noise, refused where broadcasting would hide a mistake."""
    if noise.shape != x.shape:
        raise ValueError(
            f"sample_ddim: the noise of step {step} has shape {tuple(noise.shape)}; allowed: {tuple(x.shape)}"
        )
    return noise.to(x)
