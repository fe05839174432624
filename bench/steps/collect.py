"""Step `collect`: takes the frames of videos that another system made, as the protocol scores them.

Config: `items` [{id, name, prompt, content}] (content: digest of the sha256 of its files), `shape` (the fields of
`bench.scoring.frames.Shape`), `count` (with a reference: its first so many items are what was to be animated); and,
not part of the fingerprint, `files` {id: {path, pictures}}. Inputs: `reference` (a clips artifact; only where ids are
those of its items). Leaves, in the reference's order:
    frames.safetensors  uint8 (N, T, H, W, 3)
    items.json          [{id, name, prompt, group, label, and what the video was: see `Facts`}]
    set_aside.json      [{id, path, reason}]
    matching.json       {missing: [id], extra: [name]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bench.fingerprint import digest, sha256_file
from bench.scoring.frames import Shape, pixels_digest, take
from bench.work import Work
from datasets.clip import BadVideo, Frames
from datasets.files import one_line
from datasets.framefile import FramesWriter

VERSION = 1
FRAMES = "frames.safetensors"
PART = 16  # videos between two marks of a restart
Json = dict[str, Any]


def run(work: Work) -> None:
    """Decodes every video; finished parts survive a restart. Raises ValueError when not one video is left."""
    chosen, matching = choose(work)
    items: list[Json] = []
    aside: list[Json] = []
    with FramesWriter(work.out / FRAMES) as frames:
        for start in range(0, len(chosen), PART):
            part = _part(work, start, chosen[start : start + PART])
            for clip in part.clips:
                frames.append(clip)
            items += part.items
            aside += part.aside
            work.progress(start + PART, len(chosen), "videos")
    if not items:
        raise ValueError(_nothing(chosen, aside, matching))
    _write(work.out / "items.json", items)
    _write(work.out / "set_aside.json", aside)
    _write(work.out / "matching.json", matching)


def choose(work: Work) -> tuple[list[Json], dict[str, list[str]]]:
    """The videos to score, completed by what the reference says of them, and what does not meet it."""
    given = list(work.config["items"])
    if "reference" not in work.inputs:
        return given, {"missing": [], "extra": []}
    asked = json.loads(work.file("reference", "items.json").read_text())[: work.config["count"]]
    own = {item["id"]: item for item in given}
    wanted = {item["id"] for item in asked}
    chosen = [{**_of_reference(item), **_kept(own[item["id"]])} for item in asked if item["id"] in own]
    missing = [item["id"] for item in asked if item["id"] not in own]
    extra = [item["name"] for item in given if item["id"] not in wanted]
    return chosen, {"missing": missing, "extra": extra}


def _of_reference(item: Mapping[str, Any]) -> Json:
    return {"prompt": item.get("prompt") or "", "group": item.get("group"), "label": item.get("label")}


def _kept(item: Mapping[str, Any]) -> Json:
    """A prompt that is empty does not hide the reference's."""
    return {key: value for key, value in item.items() if key != "prompt" or value}


class _Part:
    """Some videos: their frames, items, and those set aside."""

    def __init__(self, clips: list[Frames], items: list[Json], aside: list[Json]) -> None:
        self.clips, self.items, self.aside = clips, items, aside


def _part(work: Work, start: int, chosen: list[Json]) -> _Part:
    """Some videos, from an earlier start of this step if it got so far."""
    path, told = work.scratch / f"{start:06d}.safetensors", work.scratch / f"{start:06d}.json"
    if told.is_file():
        try:
            frames, known = load_file(path)["frames"], json.loads(told.read_text())
            return _Part(list(frames), known["items"], known["aside"])
        except (OSError, ValueError, KeyError, SafetensorError):  # cut short when the power went
            told.unlink()
    part = _decode(work, chosen)
    if part.clips:
        save_file({"frames": np.stack(part.clips)}, path)
        temporary = told.with_suffix(".tmp")
        temporary.write_text(json.dumps({"items": part.items, "aside": part.aside}))
        temporary.replace(told)
    return part


def _decode(work: Work, chosen: list[Json]) -> _Part:
    shape, part = Shape(**work.config["shape"]), _Part([], [], [])
    for item in chosen:
        place = work.config["files"][item["id"]]
        path, pictures = Path(place["path"]), [Path(p) for p in place["pictures"]]
        check_content(pictures or [path], item["content"])
        try:
            clip, facts = take(path, pictures, shape)
        except BadVideo as bad:
            name = one_line(str(item["name"]))
            part.aside.append({"id": item["id"], "path": name, "reason": bad.reason})
            continue
        part.clips.append(clip)
        kept = {key: item.get(key) for key in ("id", "name", "prompt", "group", "label")}
        about = {"video": item["id"], "start": 0, "frame_stride": 1, "pixels": pixels_digest(clip)}
        part.items.append({**kept, **about, **facts.to_json()})
    return part


def check_content(files: Sequence[Path], wanted: str) -> None:
    """Raises ValueError when files are not those that the plan was made for."""
    if digest([sha256_file(path) for path in files]) != wanted:
        raise ValueError(f"{files[0]} changed after the plan was made: give the same command again")


def _nothing(chosen: list[Json], aside: list[Json], matching: Mapping[str, list[str]]) -> str:
    if not chosen:
        return (
            f"none of the {len(matching['extra'])} videos is one of the {len(matching['missing'])} of the reference: "
            f"{', '.join(matching['extra'][:5])} against {', '.join(matching['missing'][:5])}"
        )
    return f"no video is left of {len(chosen)}: " + "; ".join(f"{bad['path']}: {bad['reason']}" for bad in aside[:5])


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
