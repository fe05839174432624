"""What do the videos look like? Previews of a run -> grids for the page.

Previews are small h264 files; each becomes a data: address with its first frame as a still and its x-t slice
(the middle row of every frame, time downwards). Nothing outside the run folder is read.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
from PIL import Image

from reports.load import Json, Run, mapping, number, text

BUDGET = 12_000_000  # bytes of video on the page, so that the whole file stays under 20 MB in base64
MOST_FRAMES = 64  # of one preview
MOST_BYTES = 2_000_000  # of one preview


@dataclass(frozen=True)
class Tile:
    """One video (or the condition image) of a grid, ready for the page."""

    name: str  # 'condition', 'real' or the variant
    label: str
    video: str  # data: address; '' for an image
    still: str  # data: address of the first frame
    slice: str  # data: address of the x-t slice; '' for an image
    width: int
    height: int
    frames: tuple[Image.Image, ...] = field(repr=False, default=())


@dataclass(frozen=True)
class Sample:
    """The same condition under every variant."""

    n: int
    id: str
    prompt: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Grid:
    """One dataset's samples; `frames` at `rate` per second drive the slider; `notes` say what is left out."""

    dataset: str
    samples: tuple[Sample, ...]
    frames: int
    rate: float
    notes: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """Names of the tiles, from left to right."""
        return list(dict.fromkeys(tile.label for sample in self.samples for tile in sample.tiles))


def grids(run: Run, labels: dict[str, str], budget: int = BUDGET) -> list[Grid]:
    """A grid per dataset of samples/index.json, filled round by round up to `budget` bytes of video."""
    by_dataset: dict[str, list[Json]] = {}
    for entry in run.samples:
        by_dataset.setdefault(text(entry.get("dataset")), []).append(entry)
    kept: dict[str, list[Sample]] = {name: [] for name in by_dataset}
    notes: dict[str, list[str]] = {name: [] for name in by_dataset}
    rates: dict[str, float] = {}
    for place in range(max(map(len, by_dataset.values()), default=0)):
        for name, entries in by_dataset.items():
            if place >= len(entries):
                continue
            sample, rate, size = _sample(run, entries[place], labels, notes[name])
            budget -= size
            if budget >= 0 and sample.tiles:
                kept[name].append(sample)
                rates[name] = rate
    return [_grid(name, kept[name], len(by_dataset[name]), rates.get(name, 8.0), notes[name]) for name in kept]


def _grid(name: str, samples: list[Sample], given: int, rate: float, notes: list[str]) -> Grid:
    frames = max((len(tile.frames) for sample in samples for tile in sample.tiles), default=0)
    if len(samples) < given:
        notes = [
            *notes,
            f"{given - len(samples)} of {given} samples are left out of this file to keep it "
            "small; all are in the run's samples folder.",
        ]
    return Grid(name, tuple(samples), frames, rate, tuple(dict.fromkeys(notes)))


def _sample(run: Run, entry: Json, labels: dict[str, str], notes: list[str]) -> tuple[Sample, float, int]:
    """The tiles of one line of the index, frames per second, and bytes of video."""
    tiles, rate, size = [], 8.0, 0
    for name, path in _files(run, entry, labels):
        label = _label(name, labels)
        try:
            if path.suffix == ".png":
                tiles.append(_image_tile(name, label, path))
                continue
            frames, rate = decode(path)
            tiles.append(_video_tile(name, label, path, frames))
            size += path.stat().st_size
        except (OSError, ValueError, av.FFmpegError) as error:
            notes.append(f"{path.name} of {label} cannot be shown: {_reason(error)}.")
    prompt, n = text(entry.get("prompt")), int(number(entry.get("n")) or 0)
    return Sample(n, text(entry.get("id")), prompt, tuple(tiles)), rate, size


def _label(name: str, labels: dict[str, str]) -> str:
    """What the page calls a tile; 'question.variant' (two variants of one name) names its question too."""
    question, _, variant = name.rpartition(".")
    known = labels | {"condition": "Input image", "real": "Real clip"}
    return known.get(name) or (f"{known[variant]} ({question})" if variant in known else name)


def _reason(error: Exception) -> str:
    """What went wrong, without the paths of the machine."""
    return getattr(error, "strerror", None) or str(error).split("\n")[0]


def _files(run: Run, entry: Json, labels: dict[str, str]) -> list[tuple[str, Path]]:
    """(name, file): condition, real clip, then the variants in the order of the tables, then others."""
    files = files_of(entry)
    order = ["condition", "real", *labels]
    names = sorted(files, key=lambda name: order.index(name) if name in order else len(order))
    found = [(name, inside(run.folder, files[name])) for name in names]
    return [(name, path) for name, path in found if path is not None]


def files_of(entry: Json) -> dict[str, str]:
    """What a line of samples/index.json names, relative to the run; the condition and the real clip where they lie."""
    dataset, n = text(entry.get("dataset")), text(entry.get("n"))
    usual = {"condition": f"{dataset}/condition/{n}.png", "real": f"{dataset}/real/{n}.mp4"}
    return usual | {name: text(path) for name, path in mapping(entry.get("files")).items()}


def inside(folder: Path, given: str) -> Path | None:
    """The preview's file, from the run folder or its samples folder; never one outside of them."""
    for base in (folder, folder / "samples"):
        path = (base / given).resolve()
        if path.suffix in (".mp4", ".png") and path.is_relative_to(folder.resolve()) and path.is_file():
            return path
    return None


def decode(path: Path) -> tuple[list[Image.Image], float]:
    """All frames as RGB and frames per second. ValueError, OSError or an FFmpeg error for a bad file."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES} bytes")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = []
        for frame in container.decode(stream):
            frames.append(frame.to_image())
            if len(frames) >= MOST_FRAMES:
                break
        if not frames:
            raise ValueError("no frame in it")
        return frames, float(stream.average_rate or 8)


def _video_tile(name: str, label: str, path: Path, frames: list[Image.Image]) -> Tile:
    width, height = frames[0].size
    rows = middle_rows(frames)
    video = _data("video/mp4", path.read_bytes())
    return Tile(name, label, video, _jpeg(frames[0]), _png(rows), width, height, tuple(frames))


def middle_rows(frames: Sequence[Image.Image]) -> Image.Image:
    """The x-t slice (T rows): the middle row of each frame, time downwards."""
    width, height = frames[0].size
    rows = Image.new("RGB", (width, len(frames)))
    for t, frame in enumerate(frames):
        rows.paste(frame.crop((0, height // 2, width, height // 2 + 1)), (0, t))
    return rows


def _image_tile(name: str, label: str, path: Path) -> Tile:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    return Tile(name, label, "", _png(image), "", image.width, image.height, (image,))


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _jpeg(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return _data("image/jpeg", out.getvalue())


def _png(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return _data("image/png", out.getvalue())
