"""Videos for tests: `numbered` ones say in every frame which frame it is."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from datasets.world import WorldConfig

Frames = NDArray[np.uint8]
WORLD = WorldConfig(train_videos=12, ucf101_groups=8, ucf101_clips=1, msrvtt_videos=12)
PIXELS = {"ffv1": "bgr0", "mpeg4": "yuv420p", "libx264": "yuv420p", "gif": "rgb8"}


def write_video(path: Path, frames: Frames, fps: int = 25, codec: str = "ffv1", **options: str) -> Path:
    """Frames (T, h, w, 3) as a file; ffv1 is lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], PIXELS[codec]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def numbered(path: Path, frames: int = 40, height: int = 16, width: int = 24, codec: str = "ffv1") -> Path:
    """A video whose frame k is grey level 5 k (up to 51): `numbers` reads k back, from lossy codecs too."""
    levels = 5 * np.arange(frames, dtype=np.uint8)
    video = np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3))
    return write_video(path, np.ascontiguousarray(video), codec=codec)


def numbers(frames: Frames) -> list[int]:
    """Which frames of a numbered video these are."""
    return [round(float(frame.mean()) / 5) for frame in frames]


def noise(frames: int, height: int = 16, width: int = 24, seed: int = 0) -> Frames:
    """Frames that no codec compresses well, in colour."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
