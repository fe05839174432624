"""Random numbers that belong to what they are drawn for, not to when they are drawn.

Every draw has its own generator, seeded by the hash of a few words: (seed, "train", stage, step), or (seed, dataset,
video id). So neither the batch, nor the order, nor an interruption can change what anything is given.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from torch import Tensor


def generator(*words: str | int) -> np.random.Generator:
    """The numpy generator of these words."""
    digest = hashlib.sha256(json.dumps(words).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def torch_seed(*words: str | int) -> int:
    """A seed for `torch.manual_seed`: initial weights."""
    return int(generator(*words).integers(0, 2**62))
