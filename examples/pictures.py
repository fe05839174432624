"""How were the pictures of the examples made? By this repository's procedural world: `python -m examples.pictures`.

Each is 32 x 32, a frame of a scene whose seed is written here; the same bytes every time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.procedural import render, sample_scene

HERE = Path(__file__).parent
LAST = 21  # source frames from the first to the last frame of a clip: 8 frames at stride 3
PICTURES = {  # file: seed, shape and motion of its scene, and which source frame
    "pictures/first.png": (11, "circle", "MovingRight", 0),
    "pictures/last.png": (11, "circle", "MovingRight", LAST),
    "story/square.png": (7, "square", "MovingRight", 0),
    "story/cross.png": (23, "cross", "MovingUp", 0),
}


def picture(seed: int, shape: str, motion: str, frame: int) -> Image.Image:
    """One frame of a scene: its centre, 32 x 32."""
    scene = sample_scene(np.random.default_rng(seed), shape, motion)
    return Image.fromarray(render(scene, LAST + 1)[frame, :, 4:36])


def write(folder: Path) -> None:
    """Writes every picture below `folder`."""
    for name, about in PICTURES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(*about).save(path)


if __name__ == "__main__":
    write(HERE)
