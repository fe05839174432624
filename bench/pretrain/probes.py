"""Is the text-to-video parent alive? Whether its samples do what the caption asks, and whether the loss cares.

A falling loss does not mean motion: what counts is the loss added by a wrong motion word at high noise, and the share
of samples in which the frozen classifier sees the requested motion.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.metrics.networks import VideoClassifier
from bench.pretrain.data import HELD_OUT, PriorWorld, to_pixels
from bench.steps.encode import ClipEncoder
from datasets.procedural import MOTIONS
from models.config import SamplerConfig
from models.dynamicrafter import DynamiCrafter
from models.pipeline import Conditions, Pipeline, to_uint8
from models.schedule import Schedule
from models.weights import load_module

SAMPLER = SamplerConfig(steps=10, spacing="uniform_trailing", eta=0.0, text_scale=5.0, guidance_rescale=0.7)
NAMES = tuple(MOTIONS)


class MotionProbe:
    """Samples `count` held-out captions and asks the classifier what moves and how."""

    def __init__(self, world: PriorWorld, encode: ClipEncoder, weights: Path, count: int = 48) -> None:
        first = len(world.scenes) - HELD_OUT
        self.motions = torch.tensor([NAMES.index(s["motion"]) for s in world.scenes[first : first + count]])
        captions = world.captions[first : first + count]
        self.text = encode.prompts(captions, 16)
        self.wrong = encode.prompts([_other_motion(c, k) for k, c in enumerate(captions)], 16)
        self.null_text, self.null_image = encode.nulls(4, (32, 32))
        self.autoencoder = encode.autoencoder
        self.classifier = VideoClassifier()
        load_module(self.classifier, weights / "classifier.safetensors")
        clips = world.clip(np.arange(first, first + count), 8, 3, np.random.default_rng(0))
        with torch.no_grad():
            self.real = encode.autoencoder.encode(clips)
        self.real_accuracy = self._accuracy(clips)

    def __call__(self, model: torch.nn.Module) -> str:
        assert isinstance(model, DynamiCrafter)
        gap = self.word_gap(model)
        return f"wrong-word gap {gap:.4f}  motion {self.accuracy(model):.2f} (real {self.real_accuracy:.2f})"

    @torch.no_grad()
    def word_gap(self, model: DynamiCrafter) -> float:
        """Loss added by a wrong motion word at t = 900, relative to the loss with the right one."""
        schedule = Schedule(model.config.diffusion)
        noise = torch.randn(self.real.shape, generator=torch.Generator().manual_seed(0))
        t = torch.full((len(self.real),), 900)
        x_t, target = schedule.add_noise(self.real, noise, t), schedule.target(self.real, noise, t)
        fs = torch.full((len(t),), 3)
        right, wrong = (
            (model(x_t, t, {"text": text}, self.real[:, :, :1], fs) - target).square().mean()
            for text in (self.text, self.wrong)
        )
        return float((wrong - right) / right)

    def sample(self, model: DynamiCrafter, sampler: SamplerConfig = SAMPLER) -> Tensor:
        """Clips uint8 (N, T, H, W, 3) of the held-out captions."""
        pipeline = Pipeline(model, self.autoencoder, None, None, Schedule(model.config.diffusion), sampler)
        count = len(self.text)
        tokens = self.null_image.expand(count, -1, -1)
        latent = torch.zeros_like(self.real[:, :, :1])
        conditions = Conditions(latent, self.text, tokens, self.null_text, self.null_image)
        noise = torch.randn(self.real.shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return to_uint8(pipeline.decode(pipeline.sample_latents(conditions, torch.full((count,), 3), noise)))

    def accuracy(self, model: DynamiCrafter) -> float:
        """Share of samples in which the classifier sees the requested motion."""
        return self._accuracy(to_pixels(self.sample(model).numpy()))

    @torch.no_grad()
    def _accuracy(self, clips: Tensor) -> float:
        found = self.classifier.eval().classify(self.classifier(clips))["motion"].argmax(1)
        return float((found == self.motions).float().mean())


def _other_motion(caption: str, shift: int) -> str:
    """The same caption with another motion's words."""
    for place, name in enumerate(NAMES):
        for words in sorted(MOTIONS[name], key=len, reverse=True):
            if caption.endswith(words):
                other = NAMES[(place + 1 + shift % (len(NAMES) - 1)) % len(NAMES)]
                return caption[: -len(words)] + MOTIONS[other][0]
    raise ValueError(f"no motion words in {caption!r}")
