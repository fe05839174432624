"""How does an image with a prompt become a clip: encode both, sample latents, decode them.

Shapes: B clips, T frames, H x W pixels, h x w latent sites; images (B, 3, H, W) float in [-1, 1], clips
uint8 (B, T, H, W, 3). A clip's bytes do not depend on its batch: what concerns one clip alone (encoding, decoding)
is computed clip by clip, and the network sees batches of one fixed shape, padded, whatever was asked for: all
guidance branches of as many clips as SITES_AT_ONCE allows.
Source: DynamiCrafter, arXiv:2310.12190, and the official `image_guided_synthesis`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.attention import Projected
from models.autoencoder import Autoencoder
from models.config import SamplerConfig
from models.dynamicrafter import DynamiCrafter
from models.encoders import ImageEncoder, TextEncoder
from models.guidance import Branch, Guidance, guidance_of
from models.sampler import Denoise, OnStep, StepNoise, sample_ddim
from models.schedule import Schedule

SITES_AT_ONCE = 2**11  # latent sites of the clips that go through together, all frames: 4 tiny clips, one at 256x256


@dataclass(frozen=True)
class Conditions:
    """All that a batch of clips is conditioned on, but for the frame rate."""

    latent: Tensor  # (B, 4, 1, h, w) of the image, or (B, 4, 2, h, w) of the first and the last one
    text: Tensor  # (B, L, D)
    image_tokens: Tensor  # (B, N, E)
    null_text: Tensor  # (1, L, D) of the empty prompt
    null_image_tokens: Tensor  # (1, N, E) of an all-zero image

    def branch(self, branch: Branch) -> tuple[Tensor, Tensor]:
        """Text (B or 1, L, D) and image tokens (B or 1, N, E) of a branch; 1: all clips share it."""
        text = self.text if branch.text else self.null_text
        return text, self.image_tokens if branch.image else self.null_image_tokens


def to_uint8(video: Tensor) -> Tensor:
    """Pixels (B, 3, T, H, W), about [-1, 1], to clips (B, T, H, W, 3) uint8: clamped, fractions cut off."""
    levels = (video.float().clamp(-1, 1) + 1) / 2 * 255
    return levels.to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous()


def row_by_row(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """`function` on every row alone: the same bits whatever the rows beside it."""
    return torch.cat([function(row) for row in rows.split(1)])


def clips_at_once(frames: int, height: int, width: int) -> int:
    """How many clips of (frames, height, width) latent sites go through the network together; it decides the last
    bits, so it follows from the clips' shape alone.
    """
    return max(1, SITES_AT_ONCE // (frames * height * width))


def padded_groups(count: int, size: int) -> list[tuple[Tensor, int]]:
    """Indices 0..count-1 in groups of `size`, the last one padded with its first; with each how many count."""
    groups = [torch.arange(start, min(start + size, count)) for start in range(0, count, size)]
    return [(torch.cat([g, g[:1].expand(size - len(g))]), len(g)) for g in groups]


def guided_denoiser(
    model: DynamiCrafter, guidance: Guidance, conditions: Conditions, fs: Tensor | None, frames: int
) -> Denoise:
    """(x, t) -> the guided answer of a model, every guidance branch of a group of clips in one batch.

    Keys and values of the contexts are computed here, once, and not in every step.
    """
    branches = len(guidance.branches)
    contexts = _project(model, guidance, conditions, frames)
    device = conditions.latent.device
    groups = padded_groups(len(conditions.latent), clips_at_once(frames, *conditions.latent.shape[-2:]))
    ready = []
    for rows, valid in groups:
        at = rows.to(device)
        projected = Projected.concatenate([part.map(lambda x, at=at: x[at]) for part in contexts])  # type: ignore[misc]
        rates = None if fs is None else fs[at].repeat(branches)
        ready.append((at, valid, conditions.latent[at], projected, rates))

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        answers = []
        for at, valid, latent, projected, rates in ready:
            shown = model.detail(x[at], latent)
            stacked = shown.repeat(branches, *[1] * (shown.ndim - 1))
            out = model.unet.denoise(stacked, t[at].repeat(branches), projected, rates)
            answers.append(guidance(out.chunk(branches))[:valid])
        return torch.cat(answers)

    return denoise


def _project(model: DynamiCrafter, guidance: Guidance, conditions: Conditions, frames: int) -> list[Projected]:
    """The contexts of each branch, a row per clip; one that all clips share is projected once."""
    clips = len(conditions.latent)
    latent = conditions.latent if model.projector.sees_latent else conditions.latent[:1]
    parts = [_project_branch(model, *conditions.branch(branch), latent, frames) for branch in guidance.branches]
    return [part if rows == clips else part.expand(clips) for rows, part in parts]


def _project_branch(
    model: DynamiCrafter, text: Tensor, image_tokens: Tensor, latent: Tensor, frames: int
) -> tuple[int, Projected]:
    """(B or 1, L, D), (B or 1, N, E), (B or 1, 4, any, h, w) -> number of rows, and their keys and values, row by row.
    """
    seen = (text, image_tokens, latent)
    count = max(map(len, seen))
    contexts = [model.context(*(x[i % len(x)][None] for x in seen)) for i in range(count)]
    return count, Projected.concatenate([model.unet.project_context(c, frames) for c in contexts])


class Pipeline(nn.Module):
    """A model with its frozen parts and a way of sampling, all in eval mode. The caller draws."""

    def __init__(
        self,
        model: DynamiCrafter,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder | None,
        image_encoder: ImageEncoder | None,
        schedule: Schedule,
        sampler: SamplerConfig,
    ) -> None:
        """The encoders may be left out where conditions are given ready made.

        Raises:
            ValueError: the sampler configuration names an unknown guidance, spacing or number of steps.
        """
        super().__init__()
        self.model = model
        self.autoencoder = autoencoder
        self.text_encoder = text_encoder
        self.image_encoder = image_encoder
        self.schedule = schedule
        self.sampler = sampler
        self.guidance: Guidance = guidance_of(sampler)
        schedule.ddim(sampler.spacing, sampler.steps, sampler.eta)  # refuses what cannot be sampled, before work
        self.eval()

    @torch.no_grad()
    def conditions(
        self,
        images: Tensor,
        prompts: list[str],
        end_images: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Conditions:
        """Encodes what clips start from.

        Args:
            images: (B, 3, H, W) in [-1, 1]; the first frames, which CLIP sees too.
            prompts: one per image; "" for none.
            end_images: (B, 3, H, W), the last frames (interpolation; the same images for a loop).
            noise: standard normal (B, 4, 1 or 2, h, w) with which the first (and last) latents are drawn
                from the autoencoder's posterior, as the official code does; None: its mean.

        Raises:
            ValueError: another number of prompts or end images than images; no encoders.
        """
        if self.text_encoder is None or self.image_encoder is None:
            raise ValueError("Pipeline.conditions needs a text and an image encoder; it was built without")
        if len(prompts) != len(images):
            raise ValueError(f"Pipeline.conditions: {len(prompts)} prompts for {len(images)} images")
        encode_text = self.text_encoder
        tokens = encode_text.tokenize(["", *prompts]).to(images.device)
        text = row_by_row(encode_text, tokens)
        nothing = self.image_encoder(torch.zeros_like(images[:1]))
        return Conditions(
            latent=self.condition_latent(images, end_images, noise),
            text=text[1:],
            image_tokens=row_by_row(self.image_encoder, images),
            null_text=text[:1],
            null_image_tokens=nothing,
        )

    @torch.no_grad()
    def condition_latent(self, images: Tensor, end_images: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Scaled latents of the first (and last) frames: (B, 3, H, W) -> (B, 4, 1 or 2, h, w).

        Raises:
            ValueError: images and end images differ in shape; noise for another number of frames.
        """
        frames = [images] if end_images is None else [images, end_images]
        if end_images is not None and end_images.shape != images.shape:
            raise ValueError(
                f"Pipeline: end images have shape {tuple(end_images.shape)}; allowed: {tuple(images.shape)}"
            )
        if noise is not None and noise.shape[2] != len(frames):
            raise ValueError(f"Pipeline: noise has {noise.shape[2]} frames; allowed: {len(frames)}")
        video = torch.stack(frames, dim=2)
        if noise is None:
            return row_by_row(self.autoencoder.encode, video)
        pairs = zip(video.split(1), noise.split(1), strict=True)
        return torch.cat([self.autoencoder.encode(clip, n) for clip, n in pairs])

    @torch.no_grad()
    def sample_latents(
        self,
        conditions: Conditions,
        fs: Tensor | None,
        x_T: Tensor,
        step_noise: StepNoise | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Latents of clips: x_T standard normal (B, 4, T, h, w) -> same; see `models.sampler.sample_ddim`.

        Args:
            conditions: of the B clips.
            fs: (B,) frame stride or frames per second; None: the model's default.
            x_T: start of sampling; its frames are the clip's.
            step_noise: noise of step 0, 1, ... shaped like x_T; needed when eta > 0.
            on_step: told after every step.

        Raises:
            ValueError: as many noises as conditions are needed; eta > 0 without step_noise.
        """
        if len(x_T) != len(conditions.latent):
            raise ValueError(f"Pipeline: x_T has {len(x_T)} rows for {len(conditions.latent)} conditions")
        denoise = guided_denoiser(self.model, self.guidance, conditions, fs, x_T.shape[2])
        return sample_ddim(denoise, self.schedule, self.sampler, x_T, step_noise, on_step)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, T, H, W), not clamped, of scaled latents (B, 4, T, h, w), clip by clip."""
        return row_by_row(self.autoencoder.decode, latents)

    def forward(
        self,
        images: Tensor,
        prompts: list[str],
        fs: Tensor | None,
        x_T: Tensor,
        step_noise: StepNoise | None = None,
        end_images: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Clips uint8 (B, T, H, W, 3); arguments as `conditions` and `sample_latents`."""
        conditions = self.conditions(images, prompts, end_images, noise)
        return to_uint8(self.decode(self.sample_latents(conditions, fs, x_T, step_noise)))

    def loop(
        self,
        images: Tensor,
        prompts: list[str],
        fs: Tensor | None,
        x_T: Tensor,
        step_noise: StepNoise | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Clips that end as they begin, uint8 (B, T - 1, H, W, 3): the last frame is dropped."""
        return self(images, prompts, fs, x_T, step_noise, images, noise)[:, :-1]

    def with_sampler(self, **changes: int | float | str | None) -> Pipeline:
        """The same parts under another sampler configuration (fields of `SamplerConfig`)."""
        config = replace(self.sampler, **changes)  # type: ignore[arg-type]
        return Pipeline(self.model, self.autoencoder, self.text_encoder, self.image_encoder, self.schedule, config)
