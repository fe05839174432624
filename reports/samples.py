"""What do the videos look like? Previews of a run -> grids for the page and moving sheets for Markdown.

Previews are small h264 files; each becomes a data: address with its first frame as a still and its x-t slice
(the middle row of every frame, time downwards). Nothing outside the run folder is read.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

from reports.load import Json, Run, mapping, number, text

BUDGET = 12_000_000  # bytes of video on the page, so that the whole file stays under 20 MB in base64
MOST_FRAMES = 64  # of one preview
MOST_BYTES = 2_000_000  # of one preview
PAPER, INK = (255, 255, 255), (40, 40, 40)


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
            frames, rate = _decode(path)
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
    dataset, n = text(entry.get("dataset")), text(entry.get("n"))
    files = {name: text(path) for name, path in mapping(entry.get("files")).items()}
    files.setdefault("condition", f"{dataset}/condition/{n}.png")
    files.setdefault("real", f"{dataset}/real/{n}.mp4")
    order = ["condition", "real", *labels]
    names = sorted(files, key=lambda name: order.index(name) if name in order else len(order))
    found = [(name, _inside(run.folder, files[name])) for name in names]
    return [(name, path) for name, path in found if path is not None]


def _inside(folder: Path, given: str) -> Path | None:
    """The preview's file, from the run folder or its samples folder; never one outside of them."""
    for base in (folder, folder / "samples"):
        path = (base / given).resolve()
        if path.suffix in (".mp4", ".png") and path.is_relative_to(folder.resolve()) and path.is_file():
            return path
    return None


def _decode(path: Path) -> tuple[list[Image.Image], float]:
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
    rows = Image.new("RGB", (width, len(frames)))
    for t, frame in enumerate(frames):
        rows.paste(frame.crop((0, height // 2, width, height // 2 + 1)), (0, t))
    video = _data("video/mp4", path.read_bytes())
    return Tile(name, label, video, _jpeg(frames[0]), _png(rows), width, height, tuple(frames))


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


def sheet(grid: Grid, path: Path, tile: int = 96, most: int = 4) -> Path | None:
    """Writes a moving GIF: a row per condition (at most `most`), a column per variant, names above."""
    names = list(dict.fromkeys((t.name, t.label) for sample in grid.samples for t in sample.tiles))
    samples = grid.samples[:most]
    if not samples or not names:
        return None
    pictures = [_sheet_frame(samples, names, t, tile) for t in range(max(grid.frames, 1))]
    moving = [picture.quantize(128, method=Image.Quantize.FASTOCTREE) for picture in pictures]
    moving[0].save(path, save_all=True, append_images=moving[1:], loop=0, duration=round(1000 / grid.rate))
    return path


def _sheet_frame(samples: Sequence[Sample], names: list[tuple[str, str]], t: int, tile: int) -> Image.Image:
    gap, head = 4, 18
    size = (len(names) * (tile + gap) - gap, head + len(samples) * (tile + gap) - gap)
    picture = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(picture), _font(11)
    for column, (name, label) in enumerate(names):
        left = column * (tile + gap)
        draw.text((left + tile / 2, head / 2), label, fill=INK, font=font, anchor="mm")
        for row, sample in enumerate(samples):
            shown = next((x for x in sample.tiles if x.name == name), None)
            if shown is not None and shown.frames:
                frame = shown.frames[min(t, len(shown.frames) - 1)]
                picture.paste(_fit(frame, tile), (left, head + row * (tile + gap)))
    return picture


def _fit(image: Image.Image, tile: int) -> Image.Image:
    scale = tile / max(image.size)
    size = (max(1, math.floor(image.width * scale)), max(1, math.floor(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans as matplotlib ships it (it has λ); Pillow's own where that is missing."""
    spec = find_spec("matplotlib")
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    path = folder / "mpl-data/fonts/ttf/DejaVuSans.ttf" if folder else None
    return ImageFont.truetype(str(path), size) if path and path.is_file() else ImageFont.load_default(size)
