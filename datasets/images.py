"""Which pictures can be animated? Image files as frames, whatever their suffix says they are.

Shapes: uint8 (h, w, 3) RGB, upright (EXIF orientation applied); transparency is laid on white, 16 bits per channel
become 8 by scale, of several pictures in a file the first is taken. (The official script lets Pillow convert to RGB:
transparent pixels take the colour stored under them, 16-bit grey turns white, and a photo stays on its side.)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from datasets.clip import Frames
from datasets.files import printable, walk
from datasets.folder import IMAGE_SUFFIXES

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = {
    **{".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"},
    **{".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF"},
}
MAX_PIXELS = 2**26
REDUCTIONS = (2, 4, 8)  # per side: what a JPEG decoder can leave out by itself
MODES = {"1": "black and white", "L": "grey", "P": "a palette"}  # Pillow's word: ours
WIDE = {"I;16": 65535.0, "I;16B": 65535.0, "I;16L": 65535.0, "I": 65535.0, "F": 1.0}  # mode: its white


@dataclass(frozen=True)
class Picture:
    """A picture (h, w, 3), and what was done to it: a few words each, [] where it was RGB already."""

    frame: Frames
    notes: tuple[str, ...] = ()


def read_image(path: Path) -> Frames:
    """One picture (h, w, 3). The format is told from the content: a WEBP file named .png is read.

    Raises ValueError naming the file when it is no picture of FORMATS, is damaged or larger than MAX_PIXELS.
    """
    return _read(path, reduce=False).frame


def read_picture(path: Path) -> Picture:
    """As `read_image`, with words; a JPEG larger than MAX_PIXELS is decoded at a half, a quarter or an eighth."""
    return _read(path, reduce=True)


def _read(path: Path, reduce: bool) -> Picture:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file")  # opening a pipe would wait for ever
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here
            warnings.simplefilter("ignore", UserWarning)  # metadata that nobody asked for
            with _opened(path) as image:
                notes = _named(path, image) + _bounded(image, reduce)
                return _rgb(image, notes)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _opened(path: Path) -> Image.Image:
    """The file, its first picture not decoded yet. Pillow's own limit on pixels is for others: ours comes after."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(path, formats=FORMATS)
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _named(path: Path, image: Image.Image) -> list[str]:
    said = SUFFIXES.get(path.suffix.lower())
    kind = "JPEG" if image.format == "MPO" else image.format  # a photo with a second picture inside
    notes = [f"a {kind} file whatever its name says"] if said is not None and said != kind else []
    count = int(getattr(image, "n_frames", 1))
    return notes + ([f"the first of {count} pictures"] if count > 1 and kind == image.format else [])


def _bounded(image: Image.Image, reduce: bool) -> list[str]:
    """Refuses what would not fit into memory, or has the decoder make it smaller."""
    width, height = image.size
    if width * height <= MAX_PIXELS:
        return []
    for factor in REDUCTIONS if reduce else ():
        if width * height <= MAX_PIXELS * factor**2 and image.draft(None, (width // factor, height // factor)):
            return [f"{width}x{height} decoded at 1/{factor}"]
    raise ValueError(f"{width}x{height} is larger than {MAX_PIXELS} pixels")


def _rgb(image: Image.Image, notes: list[str]) -> Picture:
    upright, turned = _upright(image)
    notes = notes + turned
    if upright.mode in WIDE:
        grey, words = _eight_bits(upright)
        return Picture(np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2)), (*notes, words))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        notes += ["transparency laid on white"] if int(np.asarray(layer)[..., 3].min()) < 255 else []
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    elif upright.mode != "RGB":
        notes += [f"converted from {MODES.get(upright.mode, upright.mode)}"]
    return Picture(np.asarray(upright.convert("RGB"), dtype=np.uint8), tuple(notes))


def _upright(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Turned as its EXIF data says."""
    image.load()
    try:
        orientation = image.getexif().get(0x0112, 1)
        upright = ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata fails in as many ways as Pillow has readers of it; the picture is whole
        return image, ["its EXIF data cannot be read: shown as stored"]
    return upright, ["turned upright as its EXIF data says"] if orientation in range(2, 9) else []


def _eight_bits(image: Image.Image) -> tuple[NDArray[np.uint8], str]:
    """One channel of 16 bits or more, (h, w), by scale: white stays white."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    white = WIDE[image.mode]
    if values.max(initial=0.0) > white:  # floats of 0..255, or integers of 32 bits
        white = 255.0 if image.mode == "F" else float(values.max())
    scaled = np.clip(np.rint(values / white * 255), 0, 255).astype(np.uint8)
    return scaled, f"grey of {'16 bits' if image.mode != 'F' else 'floating point'} scaled to 8"


def image_files(root: Path) -> dict[str, Path]:
    """id (path below the root without its suffix) -> file, sorted. Raises ValueError when two share an id."""
    found: dict[str, Path] = {}
    for path in walk(root):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            name = printable(path.relative_to(root).with_suffix("").as_posix())
            if name in found:
                raise ValueError(f"two images have the id {name!r}: {found[name]} and {path}. Keep one.")
            found[name] = path
    return dict(sorted(found.items()))
