"""How is a clip kept that someone wants to look at? As h264, as an animated GIF, or frame by frame without loss.

Shapes: frames uint8 (T, H, W, 3). Which of the three is told by the name: .mp4, .gif, or a folder (no suffix).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from bench.previews import SHOWN_FPS, write_video
from datasets.clip import Frames

SHORT_SIDE = 256  # pixels; smaller clips are shown enlarged, every pixel a square of pixels; PNGs stay as they are


def allowed_name(out: Path) -> str | None:
    """What is wrong with the name of a clip; None where nothing is."""
    if out.suffix.lower() not in WRITERS:
        return f"--out {out}: allowed is a name that ends in .mp4 or .gif, or a folder (no suffix) for PNGs"
    if out.suffix and out.is_dir():
        return f"--out {out}: it is a folder; allowed is a file"
    if not out.suffix and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        return f"--out {out}: it is there already; a folder of PNGs must be new or empty"
    return None


def write_clip(out: Path, frames: Frames) -> str:
    """Writes the clip; it appears whole or not at all. Returns a line about what was written."""
    replaced = ", replacing the file that was there" if out.suffix and out.exists() else ""
    out.parent.mkdir(parents=True, exist_ok=True)
    return f"written: {WRITERS[out.suffix.lower()](out, frames)}{replaced}"


def size_words(frames: Frames) -> str:
    """ "8 frames of 32x32" """
    return f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}"


def enlarged(frames: Frames) -> tuple[Frames, str]:
    """Every pixel a square of pixels, until the short side has SHORT_SIDE; and a few words where that was needed."""
    factor = max(1, -(-SHORT_SIDE // min(frames.shape[1:3])))
    shown = np.repeat(np.repeat(frames, factor, axis=1), factor, axis=2)
    return shown, f", every pixel shown as {factor}x{factor}" if factor > 1 else ""


def _mp4(out: Path, frames: Frames) -> str:
    shown, words = enlarged(frames)
    write_video(out, shown)
    return f"{size_words(shown)}{words}, {SHOWN_FPS} frames per second"


def _gif(out: Path, frames: Frames) -> str:
    shown, words = enlarged(frames)
    first, *rest = [Image.fromarray(frame) for frame in shown]
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        first.save(temporary, "GIF", save_all=True, append_images=rest, duration=1000 // SHOWN_FPS, loop=0)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return f"{size_words(shown)}{words}, {SHOWN_FPS} frames per second, 256 colours"


def _pngs(out: Path, frames: Frames) -> str:
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(temporary / f"{number:03d}.png")
        temporary.replace(out)  # an empty folder may be replaced by a full one
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return f"{size_words(frames)} as {out.name}/000.png to {len(frames) - 1:03d}.png, without loss"


WRITERS: dict[str, Callable[[Path, Frames], str]] = {".mp4": _mp4, ".gif": _gif, "": _pngs}
