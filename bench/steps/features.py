"""Step `features`: what the measuring networks say of a set of clips, once, for every score that needs it.

One pass over the clips, a batch in memory at a time. Leaves features.safetensors {features (N, D), conformity (N, T),
and what else the protocol measures: motion, consistency, alignment (N,)} float64, items.json of the clips, and
motions.json where the tiny world's classifier looked.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.metrics.alignment import text_alignment
from bench.metrics.consistency import temporal_consistency
from bench.metrics.extract import Distances, Pixels, conformity
from bench.metrics.extractors import ImagesAndWords, VideoNetwork, exact, open_clip_pair, open_distances, open_video
from bench.metrics.motion import LEAST_FRAMES, LEAST_SIDE, motion_magnitudes
from bench.metrics.networks import VideoClassifier
from bench.metrics.rowfile import RowReader, RowWriter
from bench.metrics.statistics import Array
from bench.work import Work
from datasets.procedural import MOTIONS

VERSION = 2
FILES = ("clips.safetensors", "frames.safetensors")
Items = list[dict[str, Any]]


def run(work: Work) -> None:
    """Measures the first `count` clips."""
    items: Items = json.loads(work.file("clips", "items.json").read_text())[: work.config["count"]]
    with ExitStack() as stack, exact():
        clips = stack.enter_context(RowReader(_clip_file(work), "frames"))
        inputs = stack.enter_context(ConditionFrames(work)) if "conditions" in work.inputs else None
        observer = Observer.open(work, clips.shape, items)
        _measure(work, observer, clips, inputs, items)
    (work.out / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1))


def _measure(work: Work, observer: Observer, clips: RowReader, inputs: ConditionFrames | None, items: Items) -> None:
    """Batch by batch into features.safetensors; no clip at all leaves arrays of no rows."""
    count, size, motions = len(items), observer.micro_batch, []
    with ExitStack() as stack:
        writer: RowWriter | None = None
        for start in range(0, max(count, 1), size):
            some = items[start : start + size]
            pixels = clips.read(start, start + len(some)) if some else np.zeros((1, *clips.shape[1:]), np.uint8)
            seen = observer.look(pixels, inputs.of(some) if inputs and some else None, some)
            if writer is None:
                shapes = {name: (count, *rows.shape[1:]) for name, rows in seen.items()}
                writer = stack.enter_context(RowWriter(work.out / "features.safetensors", shapes))
            for name, rows in seen.items():
                writer.write(name, start, rows[: len(some)])
            motions += seen_motions(observer.video.net, seen["features"][: len(some)])
            work.progress(start + len(some), count, "clips")
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

    @staticmethod
    def open(work: Work, shape: tuple[int, ...], items: Items) -> Observer:
        """What the step's config asks for, as far as clips of `shape` (N, T, H, W, 3) and their prompts allow it."""
        config, files, device = work.config, work.inputs, work.device
        size, length, side = config["micro_batch"], shape[1], min(shape[2:4])
        image, clip = config["image"], config["clip"] if length > 1 else None
        return Observer(
            video=open_video(config["video"], files, size, device),
            image=open_distances(image, files, size, device) if image and "conditions" in files else None,
            clip=open_clip_pair(clip["network"], clip["towers"], files["clip"], size, device) if clip else None,
            motion=config["motion"] and length >= LEAST_FRAMES and side >= LEAST_SIDE,
            alignment=all(item.get("prompt") for item in items),
            micro_batch=size,
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
        names = [item.get("condition", item["id"]) for item in items]
        absent = [name for name in names if name not in self.place]
        if absent:
            raise ValueError(f"{self.frames.path.parent}: no condition frame of {absent[0]!r} ({len(absent)} in all)")
        return np.stack([self.frames.first(self.place[name]) for name in names])

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
