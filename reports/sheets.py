"""What do the videos look like where nothing plays? A moving GIF and a PNG of x-t slices, for Markdown.

A row per condition, a column per variant, names above; the x-t slice is the middle row of every frame, time downwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from reports.samples import Grid, Sample, Tile, middle_rows

PAPER, INK = (255, 255, 255), (40, 40, 40)
GAP, HEAD = 4, 18  # pixels between tiles, and for the names
Names = list[tuple[str, str]]  # (tile, label)


def sheet(grid: Grid, path: Path, tile: int = 96, most: int = 4) -> Path | None:
    """Writes a moving GIF of the first `most` conditions; None without samples."""
    samples, names = grid.samples[:most], _names(grid, moving=False)
    if not samples or not names:
        return None
    pictures = [_drawn(samples, names, partial(_frame, t), tile) for t in range(max(grid.frames, 1))]
    moving = [picture.quantize(128, method=Image.Quantize.FASTOCTREE) for picture in pictures]
    moving[0].save(path, save_all=True, append_images=moving[1:], loop=0, duration=round(1000 / grid.rate))
    return path


def slices(grid: Grid, path: Path, tile: int = 96, most: int = 4) -> Path | None:
    """Writes a PNG of the x-t slices of the first `most` conditions; None without videos."""
    samples, names = grid.samples[:most], _names(grid, moving=True)
    if not samples or not names:
        return None
    _drawn(samples, names, _slice, tile).save(path, "PNG")
    return path


def _names(grid: Grid, moving: bool) -> Names:
    tiles = [tile for sample in grid.samples for tile in sample.tiles if tile.video or not moving]
    return list(dict.fromkeys((tile.name, tile.label) for tile in tiles))


def _frame(t: int, shown: Tile) -> Image.Image | None:
    return shown.frames[min(t, len(shown.frames) - 1)] if shown.frames else None


def _slice(shown: Tile) -> Image.Image | None:
    if not shown.video or not shown.frames:
        return None
    lines = middle_rows(shown.frames)
    return lines.resize((lines.width, lines.width), Image.Resampling.NEAREST)


def _drawn(
    samples: Sequence[Sample], names: Names, picture_of: Callable[[Tile], Image.Image | None], tile: int
) -> Image.Image:
    size = (len(names) * (tile + GAP) - GAP, HEAD + len(samples) * (tile + GAP) - GAP)
    picture = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(picture), _font(11)
    for column, (name, label) in enumerate(names):
        left = column * (tile + GAP)
        draw.text((left + tile / 2, HEAD / 2), _fitting(label, font, tile + GAP), fill=INK, font=font, anchor="mm")
        for row, sample in enumerate(samples):
            shown = next((x for x in sample.tiles if x.name == name), None)
            image = picture_of(shown) if shown is not None else None
            if image is not None:
                picture.paste(_fit(image, tile), (left, HEAD + row * (tile + GAP)))
    return picture


def _fitting(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    """The label, shortened until it is no wider than its column."""
    kept = label
    while kept and font.getlength(kept) > room:
        kept = kept[:-2].rstrip("…") + "…" if len(kept) > 2 else ""
    return kept


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
