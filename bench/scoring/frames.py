"""Which frames of another system's video are scored? The first T, each fitted to the protocol's size.

Shapes: frames uint8 (T, H, W, 3). Nothing is resampled in time: a system makes its frames at the protocol's stride, so
frame k of a file stands beside frame k of the reference clip, whatever rate the file plays at. `Facts` keep what was
found: length, size, rate, codec; `told` puts those of many videos into sentences.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.scoring.outputs import gap, some
from datasets.clip import BadVideo, Frames
from datasets.decode import LIMITS, Cut, Limits, decode_clip, opened
from datasets.images import read_image
from datasets.transforms import fit_frame

# Codecs that give back what they were given, when the pixel format is RGB (chroma is not thinned out).
LOSSLESS = frozenset(("ffv1", "ffvhuff", "huffyuv", "utvideo", "png", "apng", "rawvideo", "bmp", "qtrle"))
RGB = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr")
LOSSLESS_PICTURES = frozenset((".png", ".bmp"))
SHORT_RULES = ("set_aside", "loop")


@dataclass(frozen=True)
class Shape:
    """What the protocol scores: T frames of one size; `short`: set_aside | loop, for videos with fewer."""

    frames: int
    height: int
    width: int
    short: str = "set_aside"

    @property
    def cut(self) -> Cut:
        """The first `frames` frames, one after another."""
        return Cut(self.frames, (1,), "first", self.short)


@dataclass(frozen=True)
class Facts:
    """What a video was before it was fitted: `fps` None where the file does not say, `lossless` by codec."""

    source_frames: int
    width: int
    height: int
    fps: float | None
    codec: str
    lossless: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As items.json holds it."""
        return asdict(self) | {"notes": list(self.notes)}


def take(path: Path, pictures: Sequence[Path], shape: Shape, limits: Limits = LIMITS) -> tuple[Frames, Facts]:
    """The frames of one video, a file or `pictures`, and what it was. Raises BadVideo with the reason."""
    return _of_pictures(path, pictures, shape) if pictures else _of_file(path, shape, limits)


def _of_file(path: Path, shape: Shape, limits: Limits) -> tuple[Frames, Facts]:
    with opened(path, limits) as reader:
        header, there, notes = reader.header(), reader.count_packets(), reader.notes()

    def each(frame: Frames) -> Frames:
        return fit_frame(frame, shape.height, shape.width)

    decoded = decode_clip(path, shape.cut, None, each, limits)
    lossless = header.codec in LOSSLESS and header.pixel_format.startswith(RGB)
    facts = Facts(there, header.width, header.height, header.fps, header.codec, lossless, _joined(decoded.notes, notes))
    return decoded.frames, facts


def _joined(*notes: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for some in notes for note in some))


def _of_pictures(path: Path, pictures: Sequence[Path], shape: Shape) -> tuple[Frames, Facts]:
    there = len(pictures)
    if there < shape.frames and shape.short == "set_aside":
        raise BadVideo(path, f"too short: {there} pictures, {shape.frames} needed")
    missing = gap([picture.name for picture in pictures[: shape.frames]])
    if missing:
        raise BadVideo(path, missing)
    try:
        first = [read_image(picture) for picture in pictures[: shape.frames]]
    except ValueError as error:
        raise BadVideo(path, str(error)) from error
    sizes = sorted({f"{frame.shape[1]}x{frame.shape[0]}" for frame in first})
    if len(sizes) > 1:
        raise BadVideo(path, f"the pictures differ in size ({', '.join(sizes)})")
    frames = np.stack([fit_frame(first[k % there], shape.height, shape.width) for k in range(shape.frames)])
    note = (f"looped: {there} source frames, {shape.frames} needed",) if there < shape.frames else ()
    suffix = pictures[0].suffix.lower()
    lossless = {picture.suffix.lower() for picture in pictures} <= LOSSLESS_PICTURES
    height, width = first[0].shape[:2]
    return frames, Facts(there, width, height, None, f"{suffix.removeprefix('.')} pictures", lossless, note)


def take_input(path: Path, height: int, width: int, limits: Limits = LIMITS) -> Frames:
    """The picture (1, H, W, 3) that a video was made from; of a video its first frame. Raises BadVideo."""
    from datasets.files import is_video

    if is_video(path):
        return take(path, (), Shape(1, height, width), limits)[0]
    try:
        return fit_frame(read_image(path), height, width)[None]
    except ValueError as error:
        raise BadVideo(path, str(error)) from error


def pixels_digest(frames: Frames) -> str:
    """sha256 of frames or a picture: shape and pixels, whatever file they come from."""
    found = hashlib.sha256("x".join(map(str, frames.shape)).encode("ascii"))
    found.update(np.ascontiguousarray(frames).data)
    return found.hexdigest()


def told(items: Iterable[Mapping[str, Any]], shape: Shape) -> list[str]:
    """What was done with lengths, rates and sizes of the videos, a sentence each."""
    known = [item for item in items if "source_frames" in item]
    if not known:
        return []
    return [*_lengths(known, shape), _rates(known), *_sizes(known, shape)]


def lossy(items: Iterable[Mapping[str, Any]]) -> str:
    """Which videos a codec, palette or JPEG has changed, counted by codec; '' when none was."""
    every = list(items)
    changed = [item for item in every if not item.get("lossless", True)]
    codecs = _counted(item["codec"] for item in changed)
    return f"{len(changed)} of {len(every)} videos come from lossy files ({codecs})" if changed else ""


def _lengths(items: Sequence[Mapping[str, Any]], shape: Shape) -> list[str]:
    longer = [item for item in items if item["source_frames"] > shape.frames]
    shorter = [item for item in items if item["source_frames"] < shape.frames]
    said = []
    if longer:
        lengths = _counted(item["source_frames"] for item in longer)
        said.append(f"{len(longer)} videos are longer than {shape.frames} frames: their first {shape.frames} were "
                    f"taken (frames in the file: {lengths})")  # fmt: skip
    if shorter:
        said.append(f"{len(shorter)} videos are shorter than {shape.frames} frames and were looped: "
                    f"{some([str(item['id']) for item in shorter])}")  # fmt: skip
    if not said:
        said.append(f"all videos have {shape.frames} frames")
    return said


def _rates(items: Sequence[Mapping[str, Any]]) -> str:
    rates = _counted("not stated" if item["fps"] is None else f"{item['fps']:.4g}" for item in items)
    return f"frames per second of the files: {rates}; frames were taken one after another, none resampled"


def _sizes(items: Sequence[Mapping[str, Any]], shape: Shape) -> list[str]:
    other = [item for item in items if (item["height"], item["width"]) != (shape.height, shape.width)]
    if not other:
        return [f"all videos are {shape.width}x{shape.height}: no resize"]
    sizes = _counted(f"{item['width']}x{item['height']}" for item in other)
    said = [f"{len(other)} videos were resized to {shape.width}x{shape.height} (smallest size that covers it, "
            f"antialiased, then centre crop): {sizes}"]  # fmt: skip
    small = [item for item in other if item["height"] < shape.height or item["width"] < shape.width]
    if small:
        said.append(f"{len(small)} videos are smaller than {shape.width}x{shape.height} and were enlarged: "
                    f"{some([str(item['id']) for item in small])}")  # fmt: skip
    return said


def _counted(values: Iterable[object]) -> str:
    counts = Counter(map(str, values))
    return ", ".join(f"{value} ({count})" if len(counts) > 1 else value for value, count in counts.most_common(8))
