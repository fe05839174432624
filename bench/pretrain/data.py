"""What the priors are trained on: videos of a world of their own, written as files and read back.

The world has the layout of a training set and a seed that no run uses, so that priors see the codec's marks and none
of the videos that anything is scored on. Frames are uint8 (N, S, 32, 32, 3), S source frames at 24 frames a second.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.procedural import ACCENTS, COLORS, HEIGHT, MOTIONS, SHAPES, TEXTURES

SOURCE_FRAMES = 29  # eight frames at the widest stride
STRIDES = (2, 3, 4)
WORLD_SEED = 424242
HELD_OUT = 400  # the last videos, never trained on: accuracies on the cards are of these


@dataclass(frozen=True)
class PriorWorld:
    """Frames and the truth about them; index i is one video."""

    frames: NDArray[np.uint8]
    scenes: list[dict[str, Any]]
    captions: list[str]

    def clip(self, index: NDArray[np.int64], frames: int, strides: Any, rng: np.random.Generator) -> Tensor:
        """Random clips of the videos, (B, 3, T, H, W) in [-1, 1], at one of the strides and a random start each."""
        return to_pixels(self.clip_uint8(index, frames, strides, rng))

    def clip_uint8(
        self, index: NDArray[np.int64], frames: int, strides: Any, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """As `clip`, uint8 (B, T, H, W, 3); `strides` holds one stride per clip or one for all."""
        stride = np.broadcast_to(np.asarray(strides), len(index))
        start = rng.integers(0, self.frames.shape[1] - stride * (frames - 1))
        when = start[:, None] + stride[:, None] * np.arange(frames)
        return self.frames[index[:, None], when]


def to_pixels(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 (B, T, H, W, 3) -> (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def labels(scenes: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Targets of the classifier's heads: class numbers, and the two ground colours scaled to [-1, 1]."""
    names = {"motion": tuple(MOTIONS), "shape": SHAPES, "texture": TEXTURES, "accent": ACCENTS}
    found = {k: torch.tensor([names[k].index(s[k]) for s in scenes]) for k in names}
    found["color"] = torch.tensor([tuple(COLORS).index(s["color_name"]) for s in scenes])
    grounds = [[*s["ground"], *s["ground_second"]] for s in scenes]
    found["ground"] = torch.tensor(grounds).float() / 127.5 - 1
    return found


def prior_world(folder: Path, videos: int) -> PriorWorld:
    """Writes the priors' world of `videos` videos under `folder` (once) and reads it back."""
    stored = folder / f"world-{videos}.npz"
    if not stored.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"files-{videos}", videos, stored)
    found = np.load(stored, allow_pickle=False)
    told = json.loads(str(found["told"]))
    return PriorWorld(found["frames"], told["scenes"], told["captions"])


def _write(root: Path, videos: int, stored: Path) -> None:
    from datasets.catalog import open_catalog
    from datasets.select import ClipRule, select_clips
    from datasets.world import WorldConfig, write_world

    shutil.rmtree(root, ignore_errors=True)  # what an interrupted call left
    write_world(root, WorldConfig(train_videos=videos, ucf101_groups=8, ucf101_clips=1, msrvtt_videos=1), WORLD_SEED)
    catalog = open_catalog("webvid", root / "train", None)
    truth = json.loads((root / "train" / "truth.json").read_text())
    rule = ClipRule(frames=SOURCE_FRAMES, frame_stride=1, height=HEIGHT, width=HEIGHT, start="first", seed=0)
    clips = list(select_clips(catalog, rule).clips)
    told = {"scenes": [truth[c.id] for c in clips], "captions": [c.prompt for c in clips]}
    np.savez(stored, frames=np.stack([c.frames for c in clips]), told=json.dumps(told))
