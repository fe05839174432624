"""Videos, pictures and folders of "systems" that the scoring tests make for themselves."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]

CODECS = {  # suffix -> codec, pixel format
    ".mp4": ("libx264", "yuv420p"),
    ".avi": ("mpeg4", "yuv420p"),
    ".gif": ("gif", "rgb8"),
    ".webm": ("libvpx-vp9", "yuv420p"),
    ".mov": ("libx264", "yuv420p"),
    ".mkv": ("ffv1", "bgr0"),
}


def steps(frames: int, height: int = 16, width: int = 24) -> Frames:
    """A clip whose frame k is grey level 8 k: `levels` reads k back, from lossy codecs too."""
    grey = 8 * np.arange(frames, dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey[:, None, None, None], (frames, height, width, 3)))


def levels(frames: Frames) -> list[int]:
    """Which frames of `steps` these are."""
    return [round(float(frame.mean()) / 8) for frame in frames]


def noise(seed: int, frames: int = 10, height: int = 32, width: int = 32) -> Frames:
    """A clip like no other."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def video(path: Path, frames: Frames, fps: float = 8) -> Path:
    """Frames as a file, by its suffix; .mkv is lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec, pixels = CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def picture(path: Path, frame: Frames) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path)
    return path


def pictures(folder: Path, frames: Frames, suffix: str = ".png", first: int = 0, step: int = 1) -> Path:
    for k, frame in enumerate(frames):
        picture(folder / f"frame_{first + step * k:04d}{suffix}", frame)
    return folder


def touch(root: Path, *names: str, text: str = "") -> Path:
    """Empty files: finding and matching open no video."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
