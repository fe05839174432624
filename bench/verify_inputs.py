"""From which numbers were the reference values of the measuring networks made? Inputs and weights by rule, no files.

Videos are (B, T, H, W, 3) uint8: `noise`, triangle waves (`tri`) and the mean of both (`mix`). A golden file seldom
says the seed, but mostly something of the video (a hash, first values): the seed is looked for until that fits.
Features are (N, D) float32. Weights: see `weight`. Source: `tests/golden/metrics/README.md`, whose rules these are.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Shape = tuple[int, ...]  # (B, T, H, W)

GAIN = float(np.float32(np.sqrt(2)))  # of the variant in which signals live through all layers
TRIED = 100_000  # seeds, when neither the files nor a text beside them names one that fits
SLOWLY = 2_000  # the same, where each trial takes a whole video
WAVES, MIXED = 64, 4  # numbers of triangle waves that are tried, alone and under noise


# ---- videos ----


def generator(seed: int) -> np.random.Generator:
    """The generator of every rule."""
    return np.random.Generator(np.random.PCG64(seed))


def noise(seed: int, shape: Shape) -> Bytes:
    """Independent bytes."""
    return generator(seed).integers(0, 256, size=(*shape, 3), dtype=np.uint8)


@lru_cache(maxsize=8)
def tri(shape: Shape, first: int = 0) -> Bytes:
    """Triangle waves, clip by clip of another slope and speed; clip b is wave number first + b. Read-only."""
    t, y, x, c = np.ogrid[: shape[1], : shape[2], : shape[3], :3]
    waves = [
        np.abs(((3 + c + s) * x + (5 - c) * y + (11 + 7 * s) * t + 37 * c + 101 * s) % 510 - 255)
        for s in range(first, first + shape[0])
    ]
    video = np.stack(waves).astype(np.uint8)
    video.setflags(write=False)
    return video


def mix(seed: int, shape: Shape, first: int = 0) -> Bytes:
    """The mean of both, rounded down."""
    return ((tri(shape, first).astype(np.uint16) + noise(seed, shape)) // 2).astype(np.uint8)


@dataclass(frozen=True)
class Origin:
    """How a video is made: kind `noise`, `tri` or `mix`; a seed; the number of the first triangle wave."""

    kind: str
    seed: int = 0
    first: int = 0

    def make(self, shape: Shape) -> Bytes:
        """The video (B, T, H, W, 3)."""
        if self.kind == "noise":
            return noise(self.seed, shape)
        return tri(shape, self.first).copy() if self.kind == "tri" else mix(self.seed, shape, self.first)


def sha256(video: Bytes) -> str:
    """Hex digest of the bytes."""
    return hashlib.sha256(video.tobytes()).hexdigest()


def find_origin(shape: Shape, digest: str, start: Sequence[int] = (), likely: Iterable[int] = ()) -> Origin | None:
    """The rule and seed that give a video of this shape and hash; None when none of those tried does.

    `start`: its first values, which make the search fast; `likely`: seeds to try first.
    """
    head = np.array(start, dtype=np.uint8)
    rows = [tri((1, 1, *shape[2:]), first).reshape(-1)[: len(head)] for first in range(WAVES)]
    for first in (first for first, row in enumerate(rows) if (row == head).all()):
        if sha256(tri(shape, first)) == digest:
            return Origin("tri", first=first)
    few = [row.astype(np.uint16) for row in rows[:MIXED]]
    for seed in dict.fromkeys([*likely, *range(TRIED if len(start) else SLOWLY)]):
        drawn = generator(seed).integers(0, 256, size=len(head), dtype=np.uint8)
        if drawn.tobytes() == head.tobytes() and sha256(noise(seed, shape)) == digest:
            return Origin("noise", seed)
        for first in (first for first, row in enumerate(few) if ((row + drawn) // 2 == head).all()):
            if sha256(mix(seed, shape, first)) == digest:
                return Origin("mix", seed, first)
    return None


def find_seed(fits: Callable[[int], bool], likely: Iterable[int] = (), tried: int = TRIED) -> int | None:
    """The first seed for which `fits`, of the likely ones and 0 to `tried`; None when none does."""
    return next((seed for seed in dict.fromkeys([*likely, *range(tried)]) if fits(seed)), None)


# ---- features ----

FEATURE_DEFAULTS: dict[str, Any] = {
    "K": 16,
    "fac": 2.0,
    "wscale": 1.0,
    "noise": 1.0,
    "decades": 0.0,
    "shift": 0.0,
    "scale": 1.0,
    "offset": 0.0,
    "nconst": 0,
}


def features(parameters: Mapping[str, Any]) -> Floats:
    """Features (N, D): K common factors and noise; the arithmetic is elementwise, so the same bits everywhere.

    parameters: seed, N, D, wseed, and any of FEATURE_DEFAULTS. Raises ValueError for one that is not known.
    """
    odd = set(parameters) - {"seed", "N", "D", "wseed", *FEATURE_DEFAULTS}
    if odd:
        raise ValueError(f"features: unknown parameters {', '.join(sorted(odd))}")
    p = FEATURE_DEFAULTS | dict(parameters)
    rows, columns, factors = p["N"], p["D"], p["K"]
    g, h = generator(p["seed"]), generator(p["wseed"])
    own, common = g.standard_normal((rows, columns)), g.standard_normal((rows, factors))
    loadings, direction = h.standard_normal((factors, columns)), h.standard_normal(columns)
    x = p["noise"] * own
    for k in range(factors):
        x = x + (p["fac"] * p["wscale"]) * (common[:, k : k + 1] * loadings[k : k + 1, :])
    if p["decades"]:
        x = x * 10.0 ** (-p["decades"] * np.arange(columns) / (columns - 1))
    x = (x + p["shift"] * direction) * p["scale"] + p["offset"]
    x[:, : p["nconst"]] = 0.5
    return x.astype(np.float32)


USUAL_FEATURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # by the first word of a case: real, fake
    "corr": ({}, {"wscale": 1.1, "shift": 0.3}),
    "samedist": ({}, {}),
    "identical": ({}, {"seed": 20001}),
    "illcond": ({"decades": 5.0}, {"decades": 5.0, "wscale": 1.1, "shift": 0.3}),
    "lowrank": ({"noise": 0.0}, {"noise": 0.0, "wscale": 1.1, "shift": 0.3}),
    "constcols": ({"nconst": 50}, {"nconst": 50, "wscale": 1.1, "shift": 0.3}),
    "bigoffset": ({"offset": 300.0}, {"offset": 300.0, "wscale": 1.1, "shift": 0.3}),
    "iid": ({"fac": 0.0, "K": 1}, {"fac": 0.0, "K": 1, "shift": 0.3}),
}


def usual_parameters(name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Parameters of both sets of a case that no file describes, by its name: `corr_N2048_vs_512`, `iid_D8_N1000`."""
    match = re.fullmatch(r"([a-z]+)(?:_D(\d+))?_N(\d+)(?:_vs_(\d+))?", name)
    if match is None or match[1] not in USUAL_FEATURES:
        return None
    real, fake = USUAL_FEATURES[match[1]]
    shared = {"D": int(match[2] or 400), "wseed": 777}
    first = {"seed": 20001, "N": int(match[3])} | shared | real
    return first, {"seed": 20002, "N": int(match[4] or match[3])} | shared | fake


# ---- weights ----


def weight(key: str, shape: Shape, gain: float = 1.0) -> Tensor:
    """The weight of the state-dict entry `key`: normal values seeded by its name, scaled by what it is.

    Two axes or more: over the root of the inputs, times `gain`. Norms: weight 1 + 0.1 x, variances 1 + 0.1 |x|. Other
    biases and means 0.1 x. Counters 0.
    """
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    x = generator(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)
    tenth = np.float32(0.1)
    if len(shape) >= 2:
        x = x / np.float32(np.sqrt(prod(shape[1:]))) * np.float32(gain)
    elif key.endswith("running_var"):
        x = 1 + tenth * np.abs(x)
    elif key.endswith("weight"):
        x = 1 + tenth * x
    else:
        x = tenth * x
    return torch.from_numpy(x)


def weights(shapes: Mapping[str, Shape], prefix: str = "", gain: float = 1.0) -> dict[str, Tensor]:
    """Weights of many entries; their keys are `prefix` and the name."""
    return {name: weight(prefix + name, shape, gain) for name, shape in shapes.items()}


def shapes_of(module: nn.Module) -> dict[str, Shape]:
    """{entry: shape} of a module's state."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
