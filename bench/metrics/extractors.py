"""Which measuring network has that name, and what is it shown? Networks opened from local files, ready for clips.

    video networks     tiny-i3d, i3d-k400                                  clips (N, T, H, W, 3) uint8 -> (N, D)
    image distances    tiny-perceptual, lpips-alex, -vgg, -squeeze, dreamsim
    images and words   tiny-clip, openclip-vit-h-14                        frames and prompts -> (N, T, E) and (N, E)

Answers are float64 and come in batches of fixed shapes, so a row depends on its own clip alone. The small networks
of the tiny world see 32 x 32 pixels and 8 frames, whatever the clips are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.metrics.extract import (
    Distances,
    Embedded,
    Pairwise,
    Pixels,
    Show,
    image_features,
    unit_range,
    video_features,
)
from bench.metrics.i3d import SIZE, load_i3d
from bench.metrics.networks import PerceptualNet, VideoClassifier
from bench.metrics.preprocess import PIPELINES
from bench.metrics.statistics import Array
from bench.protocols.dialects import TRUNCATED
from bench.protocols.measures import ROLES
from bench.variants import config_from_json
from models.config import ClipConfig, ModelConfig
from models.encoders import ClipPair
from models.parents import open_parent
from models.weights import load_module, load_state

SMALL = 32  # pixels a side that the networks of the tiny world see
SHORT = 8  # frames that its video network sees
IMAGES = 16  # that a large network sees at once, at least


def cut_off() -> Pixels:
    """What becomes of each level 0..255 on its way to [-0.5, 0.5] in float32 and back by cutting off: (256,) uint8.

    Levels 1 to 63 fall by one; the same by way of [-1, 1]. VideoGPT, TATS and LVDM do so to real clips alone.
    """
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    half = np.float32(0.5)
    return np.asarray(((values - half) + half) * np.float32(255)).astype(np.uint8)


LEVELS = {"as they are": None, TRUNCATED: cut_off()}  # reference_bytes -> what clips go through first


@dataclass(frozen=True)
class VideoNetwork:
    """A network that looks at whole clips.

    net: (B, 3, T', S, S) -> (B, D); show: uint8 (B, T, H, W, 3) -> its input; levels: what clips go through first.
    """

    name: str
    net: nn.Module
    show: Show
    micro_batch: int
    levels: Pixels | None = None

    def features(self, clips: Pixels) -> Array:
        """Features (N, D) of clips (N, T, H, W, 3) uint8."""
        seen = clips if self.levels is None else self.levels[clips]
        return video_features(seen, self.net, self.micro_batch, self.show)


@dataclass(frozen=True)
class ImagesAndWords:
    """CLIP: embeddings of frames and of prompts that agree."""

    name: str
    pair: ClipPair
    micro_batch: int

    def frames(self, clips: Pixels) -> Array:
        """Embeddings (N, T, E) of clips (N, T, H, W, 3) uint8."""
        found = image_features(clips.reshape(-1, *clips.shape[2:]), _Images(self.pair), self.micro_batch)
        return found.reshape(*clips.shape[:2], -1)

    @torch.no_grad()
    def prompts(self, texts: Sequence[str]) -> Array:
        """Embeddings (N, E) of prompts, in batches of one shape."""
        device, found = next(self.pair.parameters()).device, []
        for start in range(0, len(texts), self.micro_batch):
            some = list(texts[start : start + self.micro_batch])
            tokens = self.pair.tokenize(some + some[-1:] * (self.micro_batch - len(some)))
            found.append(self.pair.text_embedding(tokens.to(device))[: len(some)].double().cpu().numpy())
        return np.concatenate(found)


class _Images(nn.Module):
    """The image half of a pair, as a network of its own."""

    def __init__(self, pair: ClipPair) -> None:
        super().__init__()
        self.pair = pair
        self.train(pair.training)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, H, W) in [-1, 1] -> (B, E)
        return self.pair.image_embedding(images)


@contextmanager
def exact() -> Iterator[None]:
    """Float32 means float32 inside, on a GPU too, and the same algorithm every time."""
    backends = torch.backends
    before = (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32, backends.cudnn.deterministic)
    backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32, backends.cudnn.deterministic = False, False, True
    try:
        yield
    finally:
        backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32, backends.cudnn.deterministic = before


# ---- by name ----


def open_video(config: Mapping[str, Any], files: Mapping[str, Path], micro_batch: int, device: str) -> VideoNetwork:
    """The video network that `config` {network, input, eps, bytes} names, from the file of its role.

    Raises ValueError for an unknown name, and when the file does not fit.
    """
    name = config["network"]
    role = _role(name, VIDEO)
    net, size = VIDEO[name](files[role], config)
    levels = LEVELS[config["bytes"]]
    return VideoNetwork(name, net.eval().to(device), shown(config["input"], size), micro_batch, levels)


def open_distances(name: str, files: Mapping[str, Path], micro_batch: int, device: str) -> Distances:
    """The distance between images of that name. Raises ValueError for an unknown one, or a file that does not fit."""
    role = _role(name, IMAGE)
    return IMAGE[name](files[role], name, micro_batch, device)


def open_clip_pair(name: str, config: Mapping[str, Any], path: Path, micro_batch: int, device: str) -> ImagesAndWords:
    """CLIP's two towers from any file that holds them. Raises ValueError when it does not fit `config`."""
    clip = config_from_json(ClipConfig, config)
    pair = ClipPair(clip)
    load_state(pair, open_parent(path, "clip", ModelConfig(clip=clip)).state, str(path))
    return ImagesAndWords(name, pair.eval().to(device), max(micro_batch, IMAGES))


def shown(name: str, size: int) -> Show:
    """What makes a network's input of clips: a public pipeline by its name, at the network's own size."""
    if name not in ("as_made", *PIPELINES):
        raise ValueError(f"pipeline is {name!r}; known: as_made, {', '.join(PIPELINES)}")
    if name == "as_made":
        return lambda clips: as_made(_spread(clips))
    pipeline = PIPELINES[name]
    return lambda clips: pipeline(clips if size == SIZE else _spread(clips), size)


def as_made(pixels: Tensor) -> Tensor:
    """unit_range of clips or images of 32 x 32; others are squashed to that, antialiased."""
    values = unit_range(pixels)
    if values.shape[-2:] == (SMALL, SMALL):
        return values
    images = values.transpose(1, 2).flatten(0, 1) if values.ndim == 5 else values
    small = F.interpolate(images, (SMALL, SMALL), mode="bilinear", align_corners=False, antialias=True)
    return small.unflatten(0, (len(values), -1)).transpose(1, 2) if values.ndim == 5 else small


def _spread(clips: Tensor) -> Tensor:
    """8 frames of clips (B, T, ...), spread evenly from the first to the last; clips of 8 frames as they are."""
    length = clips.shape[1]
    return clips if length == SHORT else clips[:, np.linspace(0, length - 1, SHORT).round().astype(int)]


def _role(name: str, known: Mapping[str, object]) -> str:
    if name not in known:
        raise ValueError(f"measuring network is {name!r}; known: {', '.join(known)}")
    return ROLES[name]


def _tiny_i3d(path: Path, _config: Mapping[str, Any]) -> tuple[nn.Module, int]:
    net = VideoClassifier()
    load_module(net, path)
    return net, SMALL


def _i3d(path: Path, config: Mapping[str, Any]) -> tuple[nn.Module, int]:
    net = load_i3d(path, config["eps"])
    return net.to(memory_format=torch.channels_last_3d), SIZE  # a fifth faster, equal to 1e-8


def _tiny_perceptual(path: Path, _name: str, micro_batch: int, device: str) -> Distances:
    net = PerceptualNet()
    load_module(net, path)
    net = net.eval().to(device)
    return Embedded(lambda images: image_features(images, net, micro_batch, as_made))


def _lpips(path: Path, name: str, micro_batch: int, device: str) -> Distances:
    from bench.metrics.lpips import load_lpips

    net = load_lpips(path, name.removeprefix("lpips-")).to(device)
    net.micro_batch = max(micro_batch, IMAGES)
    return Pairwise(net.distance)


def _dreamsim(path: Path, _name: str, micro_batch: int, device: str) -> Distances:
    from bench.metrics.dreamsim import load_dreamsim

    net = load_dreamsim(path).to(device)
    net.micro_batch = max(micro_batch, IMAGES)
    return Embedded(net.embed)


VIDEO: dict[str, Callable[[Path, Mapping[str, Any]], tuple[nn.Module, int]]] = {  # network, side of its input
    "tiny-i3d": _tiny_i3d,
    "i3d-k400": _i3d,
}
IMAGE: dict[str, Callable[[Path, str, int, str], Distances]] = {
    "tiny-perceptual": _tiny_perceptual,
    **dict.fromkeys(("lpips-alex", "lpips-vgg", "lpips-squeeze"), _lpips),
    "dreamsim": _dreamsim,
}
