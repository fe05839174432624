"""Which conditions is the network asked about in a step, and how are its answers combined.

Shapes: every answer (B, 4, T, h, w); all branches of a step are rows of one batch. Every branch keeps the
condition latent: "without the image" only means without its context tokens.
Source: classifier-free guidance, Ho and Salimans arXiv:2207.12598; two scales as in DynamiCrafter's
text-and-image guidance; rescale, Lin et al. arXiv:2305.08891 section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from models.config import SamplerConfig


@dataclass(frozen=True)
class Branch:
    """One condition pair; False stands for the empty prompt, or for the tokens of an all-zero image."""

    text: bool
    image: bool


COND, UNCOND, IMAGE_ONLY = Branch(True, True), Branch(False, False), Branch(False, True)
Combine = Callable[[Sequence[Tensor], float, float], Tensor]  # outputs, text scale, image scale


def _none(outputs: Sequence[Tensor], text_scale: float, image_scale: float) -> Tensor:
    return outputs[0]


def _single(outputs: Sequence[Tensor], text_scale: float, image_scale: float) -> Tensor:
    """u + s (c - u)."""
    cond, uncond = outputs
    return uncond + text_scale * (cond - uncond)


def _two_scale(outputs: Sequence[Tensor], text_scale: float, image_scale: float) -> Tensor:
    """u + s_img (i - u) + s_txt (c - i)."""
    cond, uncond, image = outputs
    return uncond + image_scale * (image - uncond) + text_scale * (cond - image)


@dataclass(frozen=True)
class GuidanceKind:
    """The branches, the condition first, and how to combine their answers."""

    branches: tuple[Branch, ...]
    combine: Combine


GUIDANCE = {
    "none": GuidanceKind((COND,), _none),
    "single": GuidanceKind((COND, UNCOND), _single),
    "two_scale": GuidanceKind((COND, UNCOND, IMAGE_ONLY), _two_scale),
}


def rescale_guidance(guided: Tensor, cond: Tensor, strength: float) -> Tensor:
    """Brings each sample's standard deviation back towards that of the conditional answer.

    Args:
        guided: combined answers, (B, ...).
        cond: answers of the condition alone, (B, ...).
        strength: 0 leaves `guided`, 1 takes the deviation of `cond`.
    """
    axes = tuple(range(1, guided.ndim))
    ratio = cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return strength * guided * ratio + (1 - strength) * guided


def _keep(guided: Tensor, cond: Tensor) -> Tensor:
    return guided


@dataclass(frozen=True)
class Guidance:
    """What a sampler configuration asks for, ready to use."""

    kind: GuidanceKind
    text_scale: float
    image_scale: float
    rescale: Callable[[Tensor, Tensor], Tensor]

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The condition pairs to evaluate, the condition first."""
        return self.kind.branches

    def __call__(self, outputs: Sequence[Tensor]) -> Tensor:
        """One answer from those of the branches, in the order of `branches`."""
        guided = self.kind.combine(outputs, self.text_scale, self.image_scale)
        return self.rescale(guided, outputs[0])


def guidance_of(config: SamplerConfig) -> Guidance:
    """Reads the guidance switches. A single scale of 1 is the condition alone: one branch, no rescale.

    Raises:
        ValueError: unknown kind; a rescale outside 0..1.
    """
    if config.guidance not in GUIDANCE:
        raise ValueError(f"sampling.guidance is {config.guidance!r}; allowed: {', '.join(GUIDANCE)}")
    if not 0.0 <= config.guidance_rescale <= 1.0:
        raise ValueError(f"sampling.guidance_rescale is {config.guidance_rescale}; allowed: 0 to 1")
    alone = config.guidance == "none" or (config.guidance == "single" and config.text_scale == 1.0)
    kind = GUIDANCE["none" if alone else config.guidance]
    image_scale = config.text_scale if config.image_scale is None else config.image_scale
    plain = alone or config.guidance_rescale == 0.0
    rescale = _keep if plain else partial(rescale_guidance, strength=config.guidance_rescale)
    return Guidance(kind, config.text_scale, image_scale, rescale)
