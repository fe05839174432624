"""Every sort of file that a folder of videos may hold, made on the spot."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
LENGTH = 40  # frames of a whole video
NAMES = (  # all of them the same sound video
    'quotes "and\' $(touch x) `x`.mp4', "two\nlines.mp4", "up..dir.mp4", "<b onclick=x>bold.mp4",
    "&amp;\x1b[31m.mp4", "-rf.mp4", "%03d.mp4",
    "file:x.mp4", os.fsdecode(b"not utf-8 \xff.mp4"), "a" * 240 + ".mp4",
)  # fmt: skip


def noise(frames: int = LENGTH, height: int = 48, width: int = 64) -> Pixels:
    """Frames in colour that move."""
    still = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.stack([np.roll(still, k, axis=1) for k in range(frames)])


def video(
    path: Path, frames: Pixels, codec: str = "libx264", pixels: str = "yuv420p", times: list[int] | None = None
) -> Path:
    """A video at 25 frames per second; `times` (in 1/100 s) of its frames where they are not even."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        if times:
            stream.codec_context.time_base = Fraction(1, 100)
        for k, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[k], Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def audio(path: Path) -> None:
    """Sound alone, in a video's container."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def rotated(path: Path) -> None:
    """A phone's video: the track header holds the matrix of a quarter turn."""
    data = video(path, noise()).read_bytes()
    one = 1 << 16
    at = data.index(struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30), data.index(b"tkhd"))
    path.write_bytes(data[:at] + struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30) + data[at + 36 :])


def claims_size(path: Path, codec: str, pixels: str) -> None:
    """An AVI whose header says 65535 x 65535."""
    data = bytearray(video(path, noise(), codec, pixels).read_bytes())
    small = struct.pack("<2I", 64, 48)
    main, stream = data.index(small), data.index(small, data.index(small) + 1)
    for at in (main, stream):
        data[at : at + 8] = struct.pack("<2I", 65535, 65535)
    path.write_bytes(data)


def claims_picture(path: Path) -> None:
    """An AVI of PNG pictures, each of which says 65535 x 65535."""
    data = video(path, noise(), "png", "rgb24").read_bytes()
    path.write_bytes(data.replace(b"IHDR" + struct.pack(">2I", 64, 48), b"IHDR" + struct.pack(">2I", 65535, 65535)))


def claims_screen(path: Path) -> None:
    """A GIF whose screen has 65535 x 65535 pixels."""
    data = bytearray(video(path, noise(), "gif", "rgb8").read_bytes())
    data[6:10] = struct.pack("<2H", 65535, 65535)
    path.write_bytes(data)


def claims_frames(path: Path) -> None:
    """An AVI whose header counts four thousand million frames."""
    data = bytearray(video(path, noise(), "mpeg4").read_bytes())
    for at in (data.index(b"avih") + 24, data.index(b"strh") + 40):  # of the file, of its stream
        data[at : at + 4] = struct.pack("<I", 2**32 - 1)
    path.write_bytes(data)


def flipped(path: Path) -> None:
    """A kilobyte in the middle inverted."""
    data = bytearray(video(path, noise(height=144, width=192)).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1024] = bytes(b ^ 0xFF for b in data[middle : middle + 1024])
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    """The first 40 % of an AVI."""
    data = video(path, noise(), "mpeg4").read_bytes()
    path.write_bytes(data[: 2 * len(data) // 5])


def changes_size(path: Path) -> None:
    """Two streams of another size, one after the other."""
    small = video(path.with_name("a.mpg"), noise(LENGTH // 2), "mpeg4")
    large = video(path.with_name("b.mpg"), noise(LENGTH // 2, 96, 128), "mpeg4")
    path.write_bytes(small.read_bytes() + large.read_bytes())
    small.unlink()
    large.unlink()


def bound_socket(path: Path) -> None:
    """A socket, whose name is a file's."""
    place = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{place}/{path.name}")  # a socket's path may have 107 bytes only
    finally:
        os.close(place)


FILES: dict[str, tuple[str, Callable[[Path], object]]] = {  # name -> (what it is, how it is made)
    "plain.mp4": ("a sound video", lambda p: video(p, noise())),
    "one_frame.mp4": ("one frame", lambda p: video(p, noise(1))),
    "odd_17x31.avi": ("17 x 31 pixels", lambda p: video(p, noise(height=31, width=17), "ffv1", "bgr0")),
    "grey.mkv": ("no colour", lambda p: video(p, noise(), "ffv1", "gray")),
    "ten_bit.mkv": ("10 bits a channel", lambda p: video(p, noise(), "ffv1", "yuv420p10le")),
    "variable_rate.mkv": (
        "frames shown for 1 to 9 hundredths of a second",
        lambda p: video(p, noise(), "ffv1", "bgr0", np.cumsum(1 + np.arange(LENGTH) % 9).tolist()),
    ),
    "rotated.mp4": ("a quarter turn in its header", rotated),
    "changes_size.mpg": ("its frames change their size", changes_size),
    "audio_only.mp4": ("sound alone", audio),
    "truncated.avi": ("its first 40 %", cut_short),
    "flipped_1k.mp4": ("a kilobyte inverted", flipped),
    "empty.mp4": ("no bytes", lambda p: p.write_bytes(b"")),
    "text_renamed.avi": ("a text", lambda p: p.write_text("1 ApplyEyeMakeup\n" * 100)),
    "random.mp4": ("random bytes", lambda p: p.write_bytes(np.random.default_rng(1).bytes(50_000))),
    "headless.mp4": ("without its index", lambda p: _without_index(p)),
    "huge_raw.avi": ("claims 65535 x 65535, uncompressed", lambda p: claims_size(p, "rawvideo", "yuv420p")),
    "huge_mpeg4.avi": ("claims 65535 x 65535, MPEG-4", lambda p: claims_size(p, "mpeg4", "yuv420p")),
    "huge_png.avi": ("claims 65535 x 65535, in every picture", claims_picture),
    "huge_screen.gif": ("claims a screen of 65535 x 65535", claims_screen),
    "huge_count.avi": ("claims 4294967295 frames", claims_frames),
    "playlist.mp4": ("a playlist that names an address", lambda p: p.write_text(
        "#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")),
    "script.mp4": ("a script that names another file", lambda p: p.write_text(
        "ffconcat version 1.0\nfile plain.mp4\n")),
    "folder.mp4": ("an empty folder", lambda p: p.mkdir()),
    "pipe.mp4": ("a pipe", lambda p: os.mkfifo(p)),
    "socket.mp4": ("a socket", bound_socket),
    "device.mp4": ("a link to /dev/zero", lambda p: p.symlink_to("/dev/zero")),
    "dangling.mp4": ("a link to nothing", lambda p: p.symlink_to("nowhere")),
    "loop.mp4": ("a link to itself", lambda p: p.symlink_to(p.name)),
}  # fmt: skip


def _without_index(path: Path) -> None:
    data = video(path, noise()).read_bytes()
    path.write_bytes(data[: data.index(b"moov")])


def make(folder: Path) -> dict[str, str]:
    """Writes all of them; name -> what it is."""
    told = {}
    for name, (what, write) in FILES.items():
        write(folder / name)
        told[name] = what
    sound = (folder / "plain.mp4").read_bytes()
    for name in NAMES:
        (folder / name).write_bytes(sound)
        told[name] = "a sound video under an odd name"
    return told
