"""Which pictures can be animated? Image files as frames, whatever their suffix says they are.

Shapes: uint8 (h, w, 3) RGB, upright (EXIF orientation applied); transparency is laid on white.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from datasets.clip import Frames
from datasets.files import printable, walk
from datasets.folder import IMAGE_SUFFIXES

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 2**26


def read_image(path: Path) -> Frames:
    """One picture (h, w, 3). The format is told from the content: a WEBP file named .png is read.

    Raises ValueError naming the file when it is no picture of FORMATS, is damaged or larger than MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width}x{image.height} is larger than {MAX_PIXELS} pixels")
                return _rgb(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _rgb(image: Image.Image) -> Frames:
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


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
