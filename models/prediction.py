"""What does the network predict, and how are noise and clean latent read off it.

Shapes: z, noise, x, out alike, any; a = sqrt(alphas_cumprod_t) and s = sqrt(1 - alphas_cumprod_t), numbers or
broadcastable tensors, a^2 + s^2 = 1; x = a z + s noise.
Source: eps, Ho et al. arXiv:2006.11239; v = a noise - s z, Salimans and Ho arXiv:2202.00512 appendix D.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Number = float | Tensor


class Convert(Protocol):
    """Two tensors and the two coefficients to a tensor of the same shape."""

    def __call__(self, first: Tensor, second: Tensor, a: Number, s: Number, /) -> Tensor: ...


@dataclass(frozen=True)
class Prediction:
    """One parameterisation."""

    target: Convert  # (z, noise, a, s) -> what the network should return
    eps: Convert  # (x, out, a, s) -> the noise in x
    x0: Convert  # (x, out, a, s) -> the clean latent


def _eps_target(z: Tensor, noise: Tensor, a: Number, s: Number) -> Tensor:
    return noise


def _eps_from_eps(x: Tensor, out: Tensor, a: Number, s: Number) -> Tensor:
    return out


def _x0_from_eps(x: Tensor, out: Tensor, a: Number, s: Number) -> Tensor:
    return (x - s * out) / a


def _v_target(z: Tensor, noise: Tensor, a: Number, s: Number) -> Tensor:
    return a * noise - s * z


def _eps_from_v(x: Tensor, out: Tensor, a: Number, s: Number) -> Tensor:
    return a * out + s * x


def _x0_from_v(x: Tensor, out: Tensor, a: Number, s: Number) -> Tensor:
    return a * x - s * out


PREDICTIONS = {
    "eps": Prediction(_eps_target, _eps_from_eps, _x0_from_eps),
    "v": Prediction(_v_target, _eps_from_v, _x0_from_v),
}
