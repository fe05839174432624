"""Step `external`: one clip for every evaluation item, from another system's pipeline (models/external).

The seed of a clip belongs to (training seed, data set, video id), as a variant's noise does; every clip is made alone,
so that no clip depends on another. Clips stay lossless, and each is kept for a restart.
Config: `system` (name of an adapter), `rules` of this very checkpoint, `sampler` {steps, size, time}, `words` (fixed
arguments of the call), `content` (digest of the pipeline's files), seed, dataset, count. Inputs: model (the pipeline's
folder), clips (frame 0 of each is animated). Leaves frames.safetensors, items.json, notes.json.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.fingerprint import digest, sha256_file
from bench.seeding import torch_seed
from bench.steps.sample import FRAMES, Part
from bench.work import Work
from datasets.framefile import FramesWriter, read_frames
from models.external.adapter import Adapter
from models.external.canvas import Clip
from models.external.folder import files
from models.external.rules import Rules, Sampler, making, told
from models.external.system import System, load
from models.external.table import ADAPTERS

VERSION = 1
SHARED = True  # ranks take clips in turn
Item = Mapping[str, Any]


def run(work: Work) -> None:
    """Samples the first `count` items, one by one. Raises ValueError when the pipeline is not what was planned for."""
    items = json.loads(work.file("clips", "items.json").read_text())[: work.config["count"]]
    clips = read_frames(work.file("clips", "clips.safetensors"))
    system, rates = _open(work), [_rate(work, item) for item in items]
    parts = [Part(work.scratch, k, k + 1) for k in range(len(items))]
    kept = set(json.loads(work.ranks.from_first(json.dumps([p.name for p in parts if p.kept() is not None]))))
    made = work.ranks.share([p for p in parts if p.name not in kept], partial(_made, work, system, clips, items, rates))
    if not work.ranks.first:
        deque(made, maxlen=0)  # makes this rank's share
        return
    _write(work, parts, made)
    (work.out / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1))
    notes = _notes(work, system, items, rates, clips.shape)
    (work.out / "notes.json").write_text(json.dumps(notes, ensure_ascii=False))


def _open(work: Work) -> System:
    config, folder = work.config, work.inputs["model"]
    inside = [[path.relative_to(folder).as_posix(), sha256_file(path)] for path in files(folder)]
    if digest(inside) != config["content"]:
        raise ValueError(f"{folder} changed after the plan was made: give the same command again")
    precision = config.get("machine", {}).get("precision", "float32")
    return load(_adapter(work), folder, Sampler(**config["sampler"]), work.device, precision)


def _adapter(work: Work) -> Adapter:
    return ADAPTERS[work.config["system"]]


def _rate(work: Work, item: Item) -> float:
    """Frames per second of the clip that is asked for; a source that does not say has the system's own rate."""
    fps = item.get("fps")
    return float(fps) / item["frame_stride"] if fps else float(work.config["rules"]["own_fps"])


def _made(
    work: Work, system: System, clips: Clip, items: list[Item], rates: list[float], part: Part
) -> dict[str, Tensor]:
    item, clip = items[part.start], clips[part.start]
    seed = torch_seed(work.config["seed"], "external", work.config["dataset"], item["id"])
    size = (clip.shape[1], clip.shape[2])
    frames = system.sample(clip[0], item.get("prompt") or "", clip.shape[0], rates[part.start], size, seed)
    return {"frames": torch.from_numpy(frames)[None]}


def _write(work: Work, parts: list[Part], made: Iterator[dict[str, Tensor]]) -> None:
    with FramesWriter(work.out / FRAMES) as frames:
        for part in parts:
            clips = part.kept()
            if clips is None:
                clips = next(made)["frames"].numpy()
                part.keep(clips)
            frames.append(clips[0])
            work.progress(part.stop, len(parts), "clips")
        deque(made, maxlen=0)


def _notes(work: Work, system: System, items: list[Item], rates: list[float], shape: tuple[int, ...]) -> list[str]:
    """How the clips were made, and what a reader would not expect."""
    rules, sampler, size = Rules(**as_rules(work.config["rules"])), system.sampler, (shape[2], shape[3])
    ones = [making(rules, sampler, shape[1], rate, size) for rate in rates]
    said = [f"{system.adapter.label}: {sampler.steps or system.adapter.steps} steps, {_words(work.config['words'])}"]
    said += [*told(rules, sampler, ones, rates, size), *system.adapter.notes]
    unknown = sum(not item.get("fps") for item in items)
    if unknown:
        said.append(f"{unknown} sources do not say how fast they play: taken as {rules.own_fps} frames per second")
    cut = [item["prompt"] for item in items if not system.reads(item.get("prompt") or "")]
    if cut:
        said.append(f"{len(cut)} prompts are longer than the system reads and were cut, as: {cut[0]}")
    return said


def _words(words: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in words.items())


def as_rules(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Rules` from JSON."""
    return {**values, "own_size": tuple(values["own_size"])}
