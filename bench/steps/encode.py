"""Step `encode`: what the frozen networks say of a data set's clips, computed once (see `bench/encoded.py`)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from bench.encoded import Encoded, clip_pixels, padded_batches
from bench.variants import config_from_json
from bench.work import Progress, Work
from models.autoencoder import Autoencoder
from models.config import AutoencoderConfig, ClipConfig
from models.encoders import ImageEncoder, TextEncoder
from models.weights import load_module, load_state, load_tensors

VERSION = 1
Items = list[dict[str, Any]]


def run(work: Work) -> None:
    """Encodes the first `count` items of the input clips."""
    frames = load_file(work.file("clips", "clips.safetensors"))["frames"]
    items = json.loads(work.file("clips", "items.json").read_text())
    count = min(len(items), work.config["count"] or len(items))
    encode = ClipEncoder.load(work)
    encoded = encode(frames[:count], items[:count], work.config["micro_batch"], work.progress)
    encoded.save(work.out)
    (work.out / "items.json").write_text(json.dumps(items[:count], ensure_ascii=False, indent=1))


class ClipEncoder:
    """The frozen autoencoder and CLIP towers, applied frame by frame in batches of one size."""

    def __init__(
        self, autoencoder: Autoencoder, image: ImageEncoder, text: TextEncoder, device: str = "cpu"
    ) -> None:
        self.autoencoder, self.image, self.text = autoencoder.eval(), image.eval(), text.eval()
        self.device = device

    @classmethod
    def load(cls, work: Work) -> ClipEncoder:
        """The networks that the step names. Raises ValueError when the weights do not fit."""
        clip_config = config_from_json(ClipConfig, work.config["clip"])
        autoencoder = Autoencoder(config_from_json(AutoencoderConfig, work.config["autoencoder"]))
        load_module(autoencoder, work.inputs["vae"])
        image, text = ImageEncoder(clip_config), TextEncoder(clip_config)
        state = load_tensors(work.inputs["clip"])
        load_state(image, image.weights_from(state), str(work.inputs["clip"]))
        load_state(text, text.weights_from(state), str(work.inputs["clip"]))
        return cls(autoencoder.to(work.device), image.to(work.device), text.to(work.device), work.device)

    @torch.no_grad()
    def __call__(
        self, frames: np.ndarray, items: Items, micro_batch: int, progress: Progress = lambda done, total, note: None
    ) -> Encoded:
        """Encodes clips uint8 (N, T, H, W, 3) with their items (`prompt`, `frame_stride`)."""
        count, length = frames.shape[:2]
        rows = frames.reshape(count * length, 1, *frames.shape[2:])
        means, stds, tokens = [], [], []
        for index, valid in padded_batches(len(rows), micro_batch):
            pixels = clip_pixels(rows[index])[:, :, 0].to(self.device)
            mean, logvar = self.autoencoder.moments(pixels)
            scale = self.autoencoder.config.scale_factor
            means.append(scale * mean[:valid].cpu())
            stds.append(scale * torch.exp(0.5 * logvar[:valid]).cpu())
            tokens.append(self.image(pixels)[:valid].half().cpu())
            progress(int(index[valid - 1]) + 1, len(rows), "frames")
        null_text, null_tokens = self.nulls(micro_batch, frames.shape[2:4])
        return Encoded(
            mean=_clips(means, count),
            std=_clips(stds, count),
            image_tokens=torch.cat(tokens).unflatten(0, (count, length)),
            text=self.prompts([item["prompt"] for item in items], micro_batch).half(),
            fs=torch.tensor([item["frame_stride"] for item in items], dtype=torch.int64),
            null_text=null_text,
            null_image_tokens=null_tokens,
        )

    @torch.no_grad()
    def prompts(self, texts: list[str], micro_batch: int) -> Tensor:
        """Text tokens (N, L, D)."""
        tokens = self.text.tokenize(texts).to(self.device)
        batches = padded_batches(len(texts), micro_batch)
        return torch.cat([self.text(tokens[index])[:valid].cpu() for index, valid in batches])

    @torch.no_grad()
    def nulls(self, micro_batch: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """What stands in for a dropped prompt (1, L, D) and a dropped image (1, M, E)."""
        grey = torch.zeros(micro_batch, 3, *size, device=self.device)
        return self.prompts([""], micro_batch), self.image(grey)[:1].cpu()


def _clips(parts: list[Tensor], count: int) -> Tensor:
    """Frame rows (N T, 4, h, w) -> (N, 4, T, h, w)."""
    return torch.cat(parts).unflatten(0, (count, -1)).transpose(1, 2).contiguous()
