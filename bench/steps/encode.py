"""Step `encode`: what the frozen networks say of a data set's clips, computed once (see `bench/encoded.py`)."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.encoded import Encoded, clip_pixels, padded_batches
from bench.parts import load_autoencoder, load_encoders
from bench.precision import arithmetic, of_step
from bench.ranks import ALONE, Ranks
from bench.variants import config_from_json
from bench.work import Progress, Work
from datasets.framefile import read_frames
from models.autoencoder import Autoencoder
from models.config import AutoencoderConfig, ClipConfig
from models.encoders import ImageEncoder, TextEncoder

VERSION = 1
SHARED = True  # ranks take batches of frames in turn
Items = list[dict[str, Any]]
Batch = tuple[np.ndarray, int]  # see `padded_batches`


def run(work: Work) -> None:
    """Encodes the first `count` items of the input clips."""
    frames = read_frames(work.file("clips", "clips.safetensors"))
    items = json.loads(work.file("clips", "items.json").read_text())
    count = min(len(items), work.config["count"] or len(items))
    items = told(items[:count], work.config.get("fs"))
    first = work.config.get("tokens") == "first"
    with arithmetic(of_step(work.config), work.device):
        encoder = ClipEncoder.load(work)
        encoded = encoder(frames[:count], items, work.config["micro_batch"], work.progress, first, work.ranks)
    if work.ranks.first:
        encoded.save(work.out)
        (work.out / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1))


def told(items: Items, fs: str | int | None) -> Items:
    """The items with `fs`, what the model is told of each clip's speed.

    None: the clip's frame stride. A number: that. "floor(fps / stride)": the frames per second of the clip as it was
    cut, 1 or more; the official loader gives a video of 25 frames per second at stride 3 the number 8.
    """
    if fs is None:
        return items
    if isinstance(fs, int):
        return [{**item, "fs": fs} for item in items]
    return [{**item, "fs": max(1, int(item["fps"] // item["frame_stride"]))} for item in items]


class ClipEncoder:
    """The frozen autoencoder and CLIP towers, applied frame by frame in batches of one size."""

    def __init__(self, autoencoder: Autoencoder, image: ImageEncoder, text: TextEncoder, device: str = "cpu") -> None:
        self.autoencoder, self.image, self.text = autoencoder.eval(), image.eval(), text.eval()
        self.device = device
        self._nulls: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}  # by batch and size: asked for again and again

    @classmethod
    def load(cls, work: Work) -> ClipEncoder:
        """The networks that the step names. Raises ValueError when the weights do not fit."""
        autoencoder = load_autoencoder(
            work.inputs["vae"], config_from_json(AutoencoderConfig, work.config["autoencoder"])
        )
        image, text = load_encoders(work.inputs["clip"], config_from_json(ClipConfig, work.config["clip"]))
        return cls(autoencoder.to(work.device), image.to(work.device), text.to(work.device), work.device)

    @torch.no_grad()
    def __call__(
        self,
        frames: np.ndarray,
        items: Items,
        micro_batch: int,
        progress: Progress = lambda done, total, note: None,
        first: bool = False,
        ranks: Ranks = ALONE,
    ) -> Encoded:
        """Encodes clips uint8 (N, T, H, W, 3) with their items (`prompt`, `frame_stride` or `fs`).

        `first`: image tokens of the first frame of each clip alone, all that sampling needs. `ranks`: who shares the
        work; each of them is given the whole.
        """
        count, length = frames.shape[:2]
        rows = frames.reshape(count * length, 1, *frames.shape[2:])
        seen: dict[str, list[Tensor]] = {"mean": [], "std": [], "tokens": []}
        batches = padded_batches(len(rows), micro_batch)
        look = self._latents if first else self._latents_and_tokens
        for (index, valid), found in zip(batches, ranks.share(batches, partial(look, rows), True), strict=True):
            for name, part in found.items():
                seen[name].append(part)
            progress(int(index[valid - 1]) + 1, len(rows), "frames")
        starts = padded_batches(count, micro_batch) if first else []
        seen["tokens"] += [found["tokens"] for found in ranks.share(starts, partial(self._tokens, frames[:, :1]), True)]
        null_text, null_tokens = self.nulls(micro_batch, frames.shape[2:4])
        return Encoded(
            mean=_clips(seen["mean"], count),
            std=_clips(seen["std"], count),
            image_tokens=torch.cat(seen["tokens"]).unflatten(0, (count, -1)),
            text=self.prompts([item["prompt"] for item in items], micro_batch).half(),
            fs=torch.tensor([item.get("fs", item["frame_stride"]) for item in items], dtype=torch.int64),
            null_text=null_text,
            null_image_tokens=null_tokens,
        )

    def _latents(self, rows: np.ndarray, batch: Batch) -> dict[str, Tensor]:
        """Moments of the scaled latents of some frames, of those that are no padding."""
        index, valid = batch
        mean, logvar = self.autoencoder.moments(self._pixels(rows[index]))
        scale = self.autoencoder.config.scale_factor
        std = scale * torch.exp(0.5 * logvar[:valid].float()).cpu()
        return {"mean": scale * mean[:valid].float().cpu(), "std": std}

    def _tokens(self, rows: np.ndarray, batch: Batch) -> dict[str, Tensor]:
        """Image tokens of some frames."""
        index, valid = batch
        return {"tokens": self.image(self._pixels(rows[index]))[:valid].half().cpu()}

    def _latents_and_tokens(self, rows: np.ndarray, batch: Batch) -> dict[str, Tensor]:
        return {**self._latents(rows, batch), **self._tokens(rows, batch)}

    def _pixels(self, rows: np.ndarray) -> Tensor:
        """Frames uint8 (N, 1, H, W, 3) -> (N, 3, H, W) in [-1, 1], where the networks are."""
        return clip_pixels(rows)[:, :, 0].to(self.device)

    @torch.no_grad()
    def prompts(self, texts: list[str], micro_batch: int) -> Tensor:
        """Text tokens (N, L, D)."""
        tokens = self.text.tokenize(texts).to(self.device)
        batches = padded_batches(len(texts), micro_batch)
        return torch.cat([self.text(tokens[index])[:valid].float().cpu() for index, valid in batches])

    @torch.no_grad()
    def nulls(self, micro_batch: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """What stands in for a dropped prompt (1, L, D) and a dropped image (1, M, E)."""
        known = (micro_batch, *size)
        if known not in self._nulls:
            grey = torch.zeros(micro_batch, 3, *size, device=self.device)
            self._nulls[known] = (self.prompts([""], micro_batch), self.image(grey)[:1].float().cpu())
        return self._nulls[known]


def _clips(parts: list[Tensor], count: int) -> Tensor:
    """Frame rows (N T, 4, h, w) -> (N, 4, T, h, w)."""
    return torch.cat(parts).unflatten(0, (count, -1)).transpose(1, 2).contiguous()
