"""Step `features`: what the measuring networks say of a set of clips, once, for every score that needs it.

One pass over the clips, a batch in memory at a time. Leaves features.safetensors {features (N, D), conformity (N, T),
and what else is measured: motion, consistency, alignment, and of the ends of clips (N,)} float64, items.json, and
motions.json where the tiny world's classifier looked.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.metrics.alignment import text_alignment
from bench.metrics.consistency import temporal_consistency
from bench.metrics.ends import Ends
from bench.metrics.extract import Distances, Pixels, conformity
from bench.metrics.extractors import ImagesAndWords, VideoNetwork, exact, open_clip_pair, open_distances, open_video
from bench.metrics.motion import LEAST_FRAMES, LEAST_SIDE, motion_magnitudes
from bench.metrics.networks import VideoClassifier
from bench.metrics.rowfile import RowReader, RowWriter
from bench.metrics.statistics import Array
from bench.work import Work
from datasets.procedural import MOTIONS

VERSION = 2
SHARED = True  # ranks take batches of clips in turn
FILES = ("clips.safetensors", "frames.safetensors")
Items = list[dict[str, Any]]


def run(work: Work) -> None:
    """Measures the first `count` clips."""
    items: Items = json.loads(work.file("clips", "items.json").read_text())[: work.config["count"]]
    with ExitStack() as stack, exact():
        clips = stack.enter_context(RowReader(_clip_file(work), "frames"))
        inputs = stack.enter_context(ConditionFrames(work)) if "conditions" in work.inputs else None
        observer = Observer.open(work, clips.shape, items)
        look = partial(_look, observer, clips, inputs, items)
        starts = range(0, max(len(items), 1), observer.micro_batch)
        seen = work.ranks.share(starts, look)
        if not work.ranks.first:
            deque(seen, maxlen=0)  # makes this rank's share
            return
        _write(work, observer, items, zip(starts, seen, strict=True))
    (work.out / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1))


def _look(
    observer: Observer, clips: RowReader, inputs: ConditionFrames | None, items: Items, start: int
) -> dict[str, torch.Tensor]:
    """What is measured of one batch of clips; of no clip at all, one that is black, for the shapes alone."""
    some = items[start : start + observer.micro_batch]
    pixels = clips.read(start, start + len(some)) if some else np.zeros((1, *clips.shape[1:]), np.uint8)
    seen = observer.look(pixels, inputs.of(some) if inputs and some else None, some)
    if observer.ends is not None:
        seen |= observer.ends.look(pixels, inputs.last_of(some) if inputs and some else pixels[:, -1])
    return {name: torch.from_numpy(rows) for name, rows in seen.items()}


def _write(work: Work, observer: Observer, items: Items, seen: Iterable[tuple[int, dict[str, torch.Tensor]]]) -> None:
    """Batch by batch into features.safetensors; no clip at all leaves arrays of no rows."""
    count, motions = len(items), []
    with ExitStack() as stack:
        writer: RowWriter | None = None
        for start, batch in seen:
            used = len(items[start : start + observer.micro_batch])
            if writer is None:
                shapes = {name: (count, *rows.shape[1:]) for name, rows in batch.items()}
                writer = stack.enter_context(RowWriter(work.out / "features.safetensors", shapes))
            for name, rows in batch.items():
                writer.write(name, start, rows[:used].numpy())
            motions += seen_motions(observer.video.net, batch["features"][:used].numpy())
            work.progress(start + used, count, "clips")
    if isinstance(observer.video.net, VideoClassifier):
        (work.out / "motions.json").write_text(json.dumps(motions))


@dataclass(frozen=True)
class Observer:
    """All that looks at a batch of clips; None: not asked for, or these clips do not allow it."""

    video: VideoNetwork
    image: Distances | None
    clip: ImagesAndWords | None
    motion: bool
    alignment: bool
    micro_batch: int
    ends: Ends | None = None

    @staticmethod
    def open(work: Work, shape: tuple[int, ...], items: Items) -> Observer:
        """What the step's config asks for, as far as clips of `shape` (N, T, H, W, 3) and their prompts allow it."""
        config, files, device = work.config, work.inputs, work.device
        size, length, side = config["micro_batch"], shape[1], min(shape[2:4])
        image, clip = config["image"], config["clip"] if length > 1 else None
        ends = config.get("ends") if length > 1 else None
        return Observer(
            video=open_video(config["video"], files, size, device),
            image=open_distances(image, files, size, device) if image and "conditions" in files else None,
            clip=open_clip_pair(clip["network"], clip["towers"], files["clip"], size, device) if clip else None,
            motion=config["motion"] and length >= LEAST_FRAMES and side >= LEAST_SIDE,
            alignment=all(item.get("prompt") for item in items),
            micro_batch=size,
            ends=Ends(ends["arrays"], open_distances(ends["network"], files, size, device)) if ends else None,
        )

    def look(self, clips: Pixels, inputs: Pixels | None, items: Items) -> dict[str, Array]:
        """Rows of every array for clips (B, T, H, W, 3) and their input images (B, H, W, 3)."""
        seen = {"features": self.video.features(clips), "conformity": np.zeros((len(clips), 0))}
        if self.image is not None:
            given = clips[:, 0] if inputs is None else inputs
            seen["conformity"] = conformity(clips, given, self.image)
        if self.motion:
            seen["motion"] = motion_magnitudes(clips)
        if self.clip is not None:
            frames = self.clip.frames(clips)
            seen["consistency"] = temporal_consistency(frames)
            if self.alignment:
                prompts = [item["prompt"] for item in items] or [""] * len(clips)
                seen["alignment"] = text_alignment(frames, self.clip.prompts(prompts))
        return seen


class ConditionFrames:
    """The input frame of each clip, by id: frame 0 of the evaluation item that has it."""

    def __init__(self, work: Work) -> None:
        told = json.loads(work.file("conditions", "items.json").read_text())
        self.place = {item["id"]: k for k, item in enumerate(told)}
        self.frames = RowReader(work.file("conditions", "clips.safetensors"), "frames")

    def of(self, items: Items) -> Pixels:
        """(B, H, W, 3) of some clips. Raises ValueError naming one that has no condition."""
        return np.stack([self.frames.first(place) for place in self._places(items)])

    def last_of(self, items: Items) -> Pixels:
        """As `of`, the last frame of each condition's clip: where a clip between two pictures should end."""
        return np.stack([self.frames.read(place, place + 1)[0, -1] for place in self._places(items)])

    def _places(self, items: Items) -> list[int]:
        names = [item.get("condition", item["id"]) for item in items]
        absent = [name for name in names if name not in self.place]
        if absent:
            raise ValueError(f"{self.frames.path.parent}: no condition frame of {absent[0]!r} ({len(absent)} in all)")
        return [self.place[name] for name in names]

    def __enter__(self) -> ConditionFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self.frames.close()


def seen_motions(net: torch.nn.Module, features: Array) -> list[str]:
    """Which motion the tiny world's classifier sees in each clip; tells whether a clip does what its prompt asks."""
    if not isinstance(net, VideoClassifier) or not len(features):
        return []
    device = next(net.parameters()).device
    with torch.no_grad():
        found = net.classify(torch.from_numpy(features).float().to(device))["motion"].argmax(1)
    return [tuple(MOTIONS)[int(k)] for k in found]


def _clip_file(work: Work) -> Path:
    for name in FILES:
        path = work.file("clips", name)
        if path.exists():
            return path
    raise ValueError(f"{work.inputs['clips']} holds no clips")
