"""How are frames written so that they come back to the bit? FFV1 in RGB, or a folder of PNG pictures; both checked.

Shapes: frames uint8 (T, H, W, 3). A file is decoded after it is written and compared: what does not come back is an
error, never a file. The same frames give the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from datasets.clip import Frames
from datasets.decode import decode_all
from datasets.images import read_image

DEFAULT_FPS = 8.0  # of the file alone: nothing is scored by it


def write_ffv1(path: Path, frames: Frames, fps: float | None = None) -> Path:
    """One .mkv file, FFV1 version 3 with checksums, RGB. Raises ValueError when it does not decode to the same."""
    target = path.with_name(f"{path.name}.mkv")
    target.parent.mkdir(parents=True, exist_ok=True)
    rate = Fraction(fps or DEFAULT_FPS).limit_denominator(1001)
    with av.open(str(target), "w", format="matroska", container_options={"fflags": "+bitexact"}) as container:
        options = {"level": "3", "slicecrc": "1", "g": "1", "flags": "+bitexact"}
        stream = container.add_stream("ffv1", rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "bgr0"
        stream.codec_context.thread_count = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    _check(target, frames, decode_all(target).frames)
    return target


def write_pngs(path: Path, frames: Frames, fps: float | None = None) -> Path:
    """A folder of 0000.png, 0001.png, ... Raises ValueError when one does not read back."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    files = [path / f"{k:04d}.png" for k in range(len(frames))]
    for file, frame in zip(files, frames, strict=True):
        Image.fromarray(frame).save(file, format="PNG")
    _check(path, frames, np.stack([read_image(file) for file in files]))
    return path


def _check(path: Path, frames: Frames, back: Frames) -> None:
    if back.shape != frames.shape or (back != frames).any():
        raise ValueError(f"{path}: {len(frames)} frames were written and do not come back to the bit")


FORMATS: dict[str, Callable[[Path, Frames, float | None], Path]] = {"ffv1": write_ffv1, "png": write_pngs}
