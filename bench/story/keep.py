"""Where do the finished shots of a story lie, and is one there already? A folder for each, PNGs and what was asked.

Files of shots/001: 000.png, 001.png, ... (lossless), shot.json {asked: everything that decides the frames, frames: the
sha256 of their pixels, count}. A folder appears whole or not at all; one that was asked for otherwise, or is damaged,
is made again. Shapes: frames uint8 (T, H, W, 3).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.clip import Frames
from datasets.images import read_image

TOLD = "shot.json"
NUMBERED, HALF = re.compile(r"\d{3}"), re.compile(r"\.\d{3}\.\d+\.tmp")


@dataclass(frozen=True)
class Places:
    """The files of a story: beside FILE.mp4, or inside a folder."""

    video: Path
    shots: Path

    @staticmethod
    def of(out: Path) -> Places:
        """Where `--out` says."""
        if out.suffix:
            return Places(out, out.with_suffix(".shots"))
        return Places(out / "story.mp4", out / "shots")

    def beside(self, suffix: str) -> Path:
        """story.srt, .vtt, .json."""
        return self.video.with_suffix(suffix)

    def shot(self, number: int) -> Path:
        """The folder of shot `number`, from 1."""
        return self.shots / f"{number:03d}"


def allowed_out(out: Path) -> str | None:
    """What is wrong with the name of a story; None where nothing is."""
    if out.suffix.lower() not in ("", ".mp4"):
        return f"--out {out}: allowed is a name that ends in .mp4, or a folder (no suffix)"
    shots = Places.of(out).shots
    for folder in (folder for folder in sorted(shots.glob("*")) if NUMBERED.fullmatch(folder.name)):
        if not (folder / TOLD).is_file():  # somebody's own pictures, perhaps: a shot would take their place
            return f"--out {out}: {folder} is no shot of a story (no {TOLD}); name another place, or take it away"
    if out.suffix:
        return f"--out {out}: it is a folder; allowed is a file" if out.is_dir() else None
    if out.exists() and not out.is_dir():
        return f"--out {out}: it is a file; allowed is a folder, or a name that ends in .mp4"
    foreign = out.is_dir() and any(out.iterdir()) and not shots.is_dir()
    return f"--out {out}: it holds something else than a story; name a new or empty folder" if foreign else None


def pixels_digest(frames: Frames) -> str:
    """sha256 of the frames' shape and pixels."""
    head = json.dumps(frames.shape).encode()
    return hashlib.sha256(head + np.ascontiguousarray(frames).tobytes()).hexdigest()


def kept(folder: Path, asked: Mapping[str, Any]) -> Frames | None:
    """The frames of a finished shot that was asked for in just this way, unharmed; None where there is none."""
    try:
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
        if told["asked"] != json.loads(json.dumps(asked)):
            return None
        frames = read_shot(folder, int(told["count"]))
        return frames if pixels_digest(frames) == told["frames"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_shot(folder: Path, count: int) -> Frames:
    """(count, H, W, 3) of a shot's folder. Raises ValueError for a picture that is missing or damaged."""
    return np.stack([read_image(folder / f"{number:03d}.png") for number in range(count)])


def keep(folder: Path, asked: Mapping[str, Any], frames: Frames) -> None:
    """Writes a shot in the place of whatever was there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(temporary / f"{number:03d}.png")
        told = {"asked": asked, "frames": pixels_digest(frames), "count": len(frames)}
        write_text(temporary / TOLD, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_others(shots: Path, count: int) -> None:
    """Shots beyond the last, of an earlier and longer script, and halves that a kill left. The lock is held."""
    for half in shots.glob(".*.tmp"):
        if HALF.fullmatch(half.name):
            shutil.rmtree(half)
    for folder in shots.glob("*"):
        if NUMBERED.fullmatch(folder.name) and int(folder.name) > count and (folder / TOLD).is_file():
            shutil.rmtree(folder)


def write_text(path: Path, text: str) -> None:
    """A text file that appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
