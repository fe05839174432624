"""Step `alike`: which clips of another system look like something that they should not be?

Config: `count` (items of the reference that count). Inputs: `generated` (collect), `reference` (clips; optional),
`inputs` (pictures; optional). Leaves alike.json, lists of ids:
    copied   frames after the first that equal, to the bit, a frame after the first of some reference clip
    close    frames after the first that follow the same video's reference clip within CLOSE levels, while it moves
    still    every frame equals the first
    twins    [[id, id, ...]] clips that are equal to the bit
    inputs   the input is not frame 0 of the reference clip of that id
A flag is no verdict: it is noted on the records, and nothing is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from bench.work import Work
from datasets.clip import Frames
from datasets.framefile import read_frames

VERSION = 1
CLOSE = 3.0  # levels of 255, mean over pixels and frames: what h264 at good quality does to small clips
MOVES = 2.0  # how many times CLOSE the reference clip must move, or following it would mean nothing


def run(work: Work) -> None:
    """Looks at every clip once; memory holds one clip and 16 bytes for each frame."""
    generated = list(_clips(work, "generated", "frames.safetensors", None))
    places = {name: k for k, (name, _) in enumerate(generated)}
    still = [name for name, clip in generated if (clip == clip[:1]).all()]
    copied: list[str] = []
    found: dict[str, object] = {"copied": copied, "close": [], "still": still, "twins": _twins(generated), "inputs": []}
    if "reference" in work.inputs:
        real = list(_clips(work, "reference", "clips.safetensors", work.config["count"]))
        seen = {mark for _, clip in real for mark in _marks(clip)}
        pairs = [(name, generated[places[name]][1], clip) for name, clip in real if name in places]
        copied += [name for name, clip in generated if any(mark in seen for mark in _marks(clip))]
        found["close"] = [name for name, made, clip in pairs if name not in copied and follows(made, clip)]
        found["inputs"] = _other_inputs(work, dict(real))
    (work.out / "alike.json").write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")


def _clips(work: Work, role: str, file: str, count: int | None) -> Iterator[tuple[str, Frames]]:
    """(id, clip) of an artifact; a clip is read from the disk when it is looked at."""
    frames = read_frames(work.file(role, file))
    items = json.loads(work.file(role, "items.json").read_text(encoding="utf-8"))[:count]
    for item, clip in zip(items, frames[: len(items)], strict=True):
        yield item["id"], clip


def _marks(clip: Frames) -> list[bytes]:
    """Hashes of the frames after the first; none of those that repeat the first."""
    return [_mark(frame) for frame in clip[1:] if (frame != clip[0]).any()]


def _mark(pixels: Frames) -> bytes:
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()


def follows(made: Frames, real: Frames) -> bool:
    """Whether a clip follows a real one that moves: closer to it by far than a repeat of its first frame is."""
    moves = np.abs(real[1:].astype(np.int16) - real[0]).mean() if len(real) > 1 else 0.0
    apart = np.abs(made[1:].astype(np.int16) - real[1:]).mean() if len(real) > 1 else 0.0
    return bool(apart < CLOSE and moves > MOVES * CLOSE)


def _twins(clips: list[tuple[str, Frames]]) -> list[list[str]]:
    by_mark: dict[bytes, list[str]] = {}
    for name, clip in clips:
        by_mark.setdefault(_mark(clip), []).append(name)
    return [names for names in by_mark.values() if len(names) > 1]


def _other_inputs(work: Work, real: dict[str, Frames]) -> list[str]:
    if "inputs" not in work.inputs:
        return []
    given = _clips(work, "inputs", "clips.safetensors", None)
    return [name for name, picture in given if name in real and (picture[0] != real[name][0]).any()]
