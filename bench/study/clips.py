"""How does a video become blind? Decoded, cut to a common shape and encoded anew, so that nothing of its file is left.

Frames are RGB pictures; what comes out is a data: address. Every clip of a study has the same number of frames, size,
rate and encoder settings, and no metadata.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from bench.errors import BenchError
from reports.samples import decode

CRF = "12"  # finer than the previews that it is made from: what people judge is not this encoder
BLOCK = 8  # pixels of a noise clip's squares

Frames = list[Image.Image]


def read(path: Path) -> tuple[Frames, float]:
    """Frames and frames per second. BenchError names a file that does not decode."""
    try:
        return decode(path)
    except (OSError, ValueError, av.FFmpegError) as error:
        raise BenchError(f"study: {path} cannot be read: {str(error).splitlines()[0]}") from None


def picture(path: Path) -> Image.Image:
    """The input picture. BenchError names a file that is none."""
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except OSError:
        raise BenchError(f"study: {path} is no picture") from None


def alike(clips: Sequence[Frames]) -> list[Frames]:
    """The clips cut to the shortest and brought to the size of the first, made even as h264 wants it."""
    count = min(len(frames) for frames in clips)
    width, height = clips[0][0].size
    size = (width - width % 2, height - height % 2)
    return [[frame if frame.size == size else frame.resize(size) for frame in frames[:count]] for frames in clips]


def noise(like: Frames, seed: int) -> Frames:
    """Squares of random colour, drawn anew in each frame: nobody who looks takes it for the right answer."""
    rng = np.random.default_rng(seed)
    width, height = like[0].size
    shape = (-(-height // BLOCK), -(-width // BLOCK), 3)
    made = []
    for _ in like:
        small = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        made.append(small.resize((width, height), Image.Resampling.NEAREST))
    return made


def encode(frames: Frames, rate: float) -> str:
    """A data: address of an h264 file without metadata, the same bytes for the same frames."""
    out = io.BytesIO()
    options = {"crf": CRF, "preset": "veryfast", "flags": "+bitexact"}
    with av.open(out, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000), options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return address("video/mp4", out.getvalue())


def as_png(image: Image.Image) -> str:
    """A data: address of the pixels alone."""
    out = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(out, "PNG")
    return address("image/png", out.getvalue())


def address(kind: str, content: bytes) -> str:
    """data:KIND;base64,..."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
