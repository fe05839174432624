"""An encoded data set: what the frozen networks say of every clip, computed once and read by every step after.

Shapes: N clips, T frames (F of them with tokens: all for training, the first alone for sampling), h x w latent
sites, M image tokens of E channels, L text positions of D channels. Latents are the moments of the autoencoder's
posterior, times its scale factor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.weights import load_tensors, save_tensors

FILE = "latents.safetensors"
TEXTS = "text.safetensors"  # what step `captions` leaves


@dataclass(frozen=True)
class Encoded:
    """One data set as the generator sees it."""

    mean: Tensor  # (N, 4, T, h, w) scaled latents
    std: Tensor  # (N, 4, T, h, w) of the posterior, scaled
    image_tokens: Tensor  # (N, F, M, E) float16
    text: Tensor  # (N, L, D) float16
    fs: Tensor  # (N,) int64 frame stride or frames per second
    null_text: Tensor  # (1, L, D) of the empty prompt
    null_image_tokens: Tensor  # (1, M, E) of a grey image (zeros in [-1, 1])

    def __len__(self) -> int:
        return self.mean.shape[0]

    def save(self, folder: Path) -> None:
        """Writes `latents.safetensors` into `folder`."""
        save_tensors({name: getattr(self, name) for name in self.__dataclass_fields__}, folder / FILE)


def load_encoded(path: Path) -> Encoded:
    """Reads what `Encoded.save` wrote (a folder or the file). Raises ValueError for anything else."""
    tensors = load_tensors(path / FILE if path.is_dir() else path)
    return Encoded(**{name: tensors[name] for name in Encoded.__dataclass_fields__})


def retold(data: Encoded, folder: Path) -> Encoded:
    """The clips that step `captions` kept, with its texts. Raises ValueError when they are of another set."""
    told = load_tensors(folder / TEXTS)
    rows, text = told["rows"], told["text"]
    if len(rows) != len(text) or text.shape[1:] != data.text.shape[1:] or not 0 <= int(rows.max()) < len(data):
        raise ValueError(f"{folder}: {len(rows)} rows and texts {tuple(text.shape)} do not fit {len(data)} clips")
    own = {name: getattr(data, name)[rows] for name in ("mean", "std", "image_tokens", "fs")}
    return replace(data, text=text.to(data.text.dtype), **own)


def padded_batches(count: int, size: int) -> list[tuple[np.ndarray, int]]:
    """Index batches of one fixed size, the last one padded with its first index; with each how many rows count.

    A convolution may give other bits at another batch size; rows of equal batches never depend on their neighbours.
    """
    batches = []
    for start in range(0, count, size):
        index = np.arange(start, min(start + size, count))
        rows = len(index)
        batches.append((np.concatenate([index, np.full(size - rows, index[0])]), rows))
    return batches


def clip_pixels(frames: np.ndarray) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1

