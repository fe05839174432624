"""Small videos to look at: lossless frames -> h264 previews and condition pictures. Nothing is scored from
them.

Shapes: frames uint8 (T, H, W, 3); a preview is enlarged (nearest neighbour) until its short side has 128
    pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Frames = NDArray[np.uint8]

SHORT_SIDE = 128
SHOWN_FPS = 8
CRF = "16"


def first_clips(folder: Path, count: int) -> Frames:
    """The first `count` clips of an artifact: uint8 (N, T, H, W, 3), N <= count."""
    name = "frames.safetensors" if (folder / "frames.safetensors").is_file() else "clips.safetensors"
    with safe_open(folder / name, "np") as file:
        stored = file.get_slice("frames")
        clips = stored[: min(count, stored.get_shape()[0])]
    return np.asarray(clips, dtype=np.uint8)


def enlarge(frames: Frames) -> Frames:
    """Whole pixels repeated; small clips become visible, large ones stay. Sides are made even by repeating
    the edge.
    """
    factor = max(1, -(-SHORT_SIDE // min(frames.shape[1:3])))
    large = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    odd_height, odd_width = large.shape[1] % 2, large.shape[2] % 2
    return np.pad(large, ((0, 0), (0, odd_height), (0, odd_width), (0, 0)), mode="edge")


def write_video(path: Path, frames: Frames) -> None:
    """An h264 file (yuv420p), the same bytes for the same frames; appears whole or not at all."""
    large = enlarge(frames)
    write_film(path, large, large.shape[1], large.shape[2])


def write_film(path: Path, frames: Iterable[Frames], height: int, width: int) -> None:
    """As `write_video`, of frames (height, width, 3) that come one by one, as they are; both sides must be even."""

    def write(temporary: Path) -> None:
        import av

        place = str(temporary.absolute())  # a relative name that begins as "x:" would be an address to the library
        with av.open(place, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
            options = {"crf": CRF, "preset": "veryfast", "flags": "+bitexact"}
            stream = container.add_stream("libx264", rate=Fraction(SHOWN_FPS), options=options)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.codec_context.thread_count = 1
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())

    _whole(path, write)


def write_picture(path: Path, frame: Frames) -> None:
    """A PNG of one frame (H, W, 3), enlarged like the videos; appears whole or not at all."""

    def write(temporary: Path) -> None:
        from PIL import Image

        Image.fromarray(enlarge(frame[None])[0]).save(temporary, format="PNG")

    _whole(path, write)


def _whole(path: Path, write: Callable[[Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
