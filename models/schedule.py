"""How much noise is there at each timestep, and which timesteps does a sampler visit.

Shapes: tables are float64 of `steps` (1000) entries; z and noise (B, 4, T, h, w), t (B,) int64 in 0..steps-1.
a_t below is alphas_cumprod[t]: x_t = sqrt(a_t) z + sqrt(1 - a_t) n.
Source: Ho et al. arXiv:2006.11239 and Song et al. arXiv:2010.02502 (eq. 12, 16); zero terminal SNR, Lin et
al. arXiv:2305.08891 algorithm 1; betas linear in their square root and
dynamic rescale as in the official code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.config import DiffusionConfig
from models.prediction import PREDICTIONS

Table = NDArray[np.float64]
STORED_AS = {"scale_arr": "scale_table"}  # a published name: ours, where they differ
RAMP = 400  # timesteps over which the dynamic rescale falls from 1 to its base


def make_betas(config: DiffusionConfig) -> Table:
    """Betas, linear in their square root: (steps,) float64."""
    betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.steps, dtype=np.float64) ** 2
    return zero_terminal_snr(betas) if config.zero_terminal_snr else betas


def zero_terminal_snr(betas: Table) -> Table:
    """Shifts and scales sqrt(alphas_cumprod) so that the last is 0 and the first stays; (steps,) both."""
    root = np.sqrt(np.cumprod(1.0 - betas))
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    cumprod = root**2
    return 1.0 - np.concatenate([cumprod[:1], cumprod[1:] / cumprod[:-1]])


def rescale_table(config: DiffusionConfig) -> Table:
    """Factor on the latent at each t: from 1 to the base in 400 steps, then constant; (steps + 400,)."""
    base = 1.0 if config.dynamic_rescale is None else config.dynamic_rescale
    return np.concatenate([np.linspace(1.0, base, RAMP), np.full(config.steps, base)])


def _uniform(total: int, steps: int) -> list[int]:
    """floor(i total / steps) + 1: the official table wherever that has exactly `steps` entries."""
    first = 1 if steps < total else 0  # with every timestep visited there is none to leave out
    return [i * total // steps + first for i in range(steps)]


def _uniform_trailing(total: int, steps: int) -> list[int]:
    """Ends at the last timestep, pure noise with zero terminal SNR; the cut drops a stray rounding."""
    descending = np.round(np.arange(total, 0, -(total / steps)))[:steps]
    return [int(t) - 1 for t in descending[::-1]]


def _quad(total: int, steps: int) -> list[int]:
    """The official table, dense where there is little noise, but no timestep twice: a repeat becomes the next."""
    table: list[int] = []
    for t in _official_quad(total, steps):
        table.append(max(t, table[-1] + 1) if table else t - (steps == total))
    return table


# The official step tables, lost remainders and all: for comparison with clips that the official code made.


def _official_uniform(total: int, steps: int) -> list[int]:
    """range(0, total, total // steps) + 1: 15 steps are 16, and some numbers run past the table."""
    return _inside("official_uniform", total, steps, [t + 1 for t in range(0, total, total // steps)])


def _official_uniform_trailing(total: int, steps: int) -> list[int]:
    """As `uniform_trailing`; for 62 numbers, as 61, a stray rounding adds a timestep before the first."""
    table = [int(t) - 1 for t in np.round(np.arange(total, 0, -(total / steps)))[::-1]]
    return _inside("official_uniform_trailing", total, steps, table)


def _official_quad(total: int, steps: int) -> list[int]:
    """Squares from 0 to 0.8 total, rounded down, + 1: with 30 steps or more some timesteps are there twice."""
    return [int(t) + 1 for t in np.linspace(0, np.sqrt(0.8 * total), steps) ** 2]


def _inside(spacing: str, total: int, steps: int, table: list[int]) -> list[int]:
    outside = [t for t in table if not 0 <= t < total]
    if outside:
        raise ValueError(
            f"spacing '{spacing}' with {steps} steps needs timestep {outside[-1]} of 0..{total - 1}; "
            f"use spacing '{spacing.removeprefix('official_')}', which has exactly the steps asked for"
        )
    return table


SPACINGS: dict[str, Callable[[int, int], list[int]]] = {
    "uniform": _uniform,
    "uniform_trailing": _uniform_trailing,
    "quad": _quad,
    "official_uniform": _official_uniform,
    "official_uniform_trailing": _official_uniform_trailing,
    "official_quad": _official_quad,
}


@dataclass(frozen=True)
class DdimTable:
    """Coefficients of the DDIM steps, all (S,), timesteps ascending; a sampler walks them from the end."""

    timesteps: NDArray[np.int64]
    alphas: Table  # a_t
    alphas_prev: Table  # a of the next less noisy timestep; the first is a_0, not 1, as in the official code
    sigmas: Table  # standard deviation of the noise added
    scale: Table  # dynamic rescale at t
    scale_prev: Table  # and at the next less noisy timestep

    def __len__(self) -> int:
        return len(self.timesteps)


class Schedule(nn.Module):
    """The forward process. Its tables are derived from the configuration and are no part of a state dict."""

    betas: Tensor
    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    scale_table: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.prediction = PREDICTIONS[config.prediction]
        betas = make_betas(config)
        cumprod = np.cumprod(1.0 - betas)
        tables = {
            "betas": betas,
            "alphas_cumprod": cumprod,
            "sqrt_alphas_cumprod": np.sqrt(cumprod),
            "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - cumprod),
            "scale_table": rescale_table(config),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def with_tables(self, stored: Mapping[str, Tensor]) -> Schedule:
        """The same process by the tables of a checkpoint, under its names; the official code samples with those.

        Raises:
            ValueError: another number of timesteps.
        """
        other = Schedule(self.config)
        for name in ("betas", "alphas_cumprod", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "scale_arr"):
            if name in stored:
                own = other.get_buffer(STORED_AS.get(name, name))
                if stored[name].shape != own.shape:
                    raise ValueError(f"schedule: {name} has {len(stored[name])} entries; allowed: {len(own)}")
                own.copy_(stored[name])
        return other

    @staticmethod
    def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
        """table[t] in the precision of `like`, shaped (B, 1, ..., 1)."""
        return table[t].to(like.dtype).view(-1, *[1] * (like.ndim - 1))

    def add_noise(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t of a latent: (B, ...), (B, ...), (B,) -> (B, ...)."""
        a = self._at(self.sqrt_alphas_cumprod, t, z)
        return a * z + self._at(self.sqrt_one_minus_alphas_cumprod, t, z) * noise

    def target(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should return at x_t: noise (eps) or velocity (v); shapes as `add_noise`."""
        a = self._at(self.sqrt_alphas_cumprod, t, z)
        return self.prediction.target(z, noise, a, self._at(self.sqrt_one_minus_alphas_cumprod, t, z))

    def z_scale(self, t: Tensor, like: Tensor) -> Tensor:
        """Dynamic rescale of the diffused latent at t, (B, 1, ..., 1) as precise as `like`; 1 for none."""
        return self._at(self.scale_table, t, like)

    def timesteps(self, spacing: str, steps: int) -> NDArray[np.int64]:
        """The timesteps a sampler visits, ascending: exactly `steps`, or as many as the official table has.

        Raises:
            ValueError: unknown spacing; steps not in 1..1000; a table that runs past the schedule.
        """
        total = self.config.steps
        if spacing not in SPACINGS:
            raise ValueError(f"sampling.spacing is {spacing!r}; allowed: {', '.join(SPACINGS)}")
        if not 1 <= steps <= total:
            raise ValueError(f"sampling.steps is {steps}; allowed: 1 to {total}")
        return np.asarray(SPACINGS[spacing](total, steps), dtype=np.int64)

    def ddim(self, spacing: str, steps: int, eta: float) -> DdimTable:
        """The DDIM coefficients, eq. 12 and 16 of arXiv:2010.02502.

        alphas_cumprod is rounded to float32 first: a published checkpoint stores, and samples with, that.
        The radicand of sigma and, in the sampler, of the direction are clamped at 0.

        Raises:
            ValueError: as `timesteps`; eta outside 0..1.
        """
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"sampling.eta is {eta}; allowed: 0 (deterministic) to 1 (as noisy as DDPM)")
        t = self.timesteps(spacing, steps)
        cumprod = self.alphas_cumprod.cpu().numpy().astype(np.float32).astype(np.float64)
        scale = self.scale_table.cpu().numpy()
        a, a_prev = cumprod[t], np.concatenate([cumprod[:1], cumprod[t[:-1]]])
        variance = (1 - a_prev) / (1 - a) * (1 - a / a_prev)
        sigmas = eta * np.sqrt(np.maximum(variance, 0.0))
        return DdimTable(t, a, a_prev, sigmas, scale[t], scale[np.concatenate([t[:1], t[:-1]])])


def official_buffers(schedule: Schedule) -> dict[str, Tensor]:
    """The schedule as a published checkpoint stores it, float32.

    12 tables of (steps,), and `scale_arr` (steps + 400,) where the latent is rescaled. `lvlb_weights`
    (steps,) is returned too; the official code computes it but does not save it.
    """
    betas, cumprod = schedule.betas.cpu().numpy(), schedule.alphas_cumprod.cpu().numpy()
    is_v = schedule.config.prediction == "v"
    before = np.concatenate([[1.0], cumprod[:-1]])
    variance = betas * (1 - before) / (1 - cumprod)
    recip = np.zeros_like(cumprod) if is_v else 1 / cumprod  # zeros are stored where nothing divides by a
    tables = {
        "betas": betas,
        "alphas_cumprod": cumprod,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": np.sqrt(cumprod),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - cumprod),
        "log_one_minus_alphas_cumprod": np.log(1 - cumprod),
        "sqrt_recip_alphas_cumprod": np.sqrt(recip),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(np.maximum(recip - 1, 0)),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(before) / (1 - cumprod),
        "posterior_mean_coef2": (1 - before) * np.sqrt(1 - betas) / (1 - cumprod),
        "lvlb_weights": _bound_weights(betas, cumprod, variance, is_v),
    }
    if schedule.config.dynamic_rescale is not None:
        tables["scale_arr"] = schedule.scale_table.cpu().numpy()
    return {name: torch.from_numpy(table.astype(np.float32)) for name, table in tables.items()}


def _bound_weights(betas: Table, cumprod: Table, variance: Table, is_v: bool) -> Table:
    """Weights of the variational bound; 1 for v. The first is undefined and takes the second's value.

    In float32 from here on, as the official code: 1 - cumprod cancels at the first timesteps.
    """
    if is_v:
        return np.ones_like(betas)
    beta, alpha, noise, spread = (x.astype(np.float32) for x in (betas, 1 - betas, cumprod, variance))
    weights = np.empty_like(beta)
    weights[1:] = beta[1:] ** 2 / (2 * spread[1:] * alpha[1:] * (1 - noise[1:]))
    weights[0] = weights[1]
    return weights.astype(np.float64)
