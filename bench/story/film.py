"""How do shots become a film? Frame by frame with their captions, so that memory holds one shot; and subtitle files.

Shapes: a shot's frames uint8 (T, H, W, 3), shown enlarged as other clips are (bench/clip_files.py), FPS a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.clip_files import enlarged
from bench.previews import enlarge, write_film
from bench.story import captions
from bench.story.keep import Places, read_shot, write_text
from bench.story.script import FPS, Shot
from datasets.clip import Frames


def stored(places: Places, shots: Sequence[Shot]) -> Iterator[Frames]:
    """The frames of each shot, in order, from where they are kept."""
    for number, shot in enumerate(shots, 1):
        yield read_shot(places.shot(number), shot.frames)


def film(places: Places, shots: Sequence[Shot], size: tuple[int, int], font: Path | None) -> None:
    """Writes the film of shots of `size` (H, W), and says so."""
    absent = captions.missing_letters([shot.caption for shot in shots], font)
    if absent:
        lacks = " ".join(absent[:8])
        print(f"note: the font has no {lacks}: spelled without, whole in the subtitle files; --font FILE has others")

    def frames() -> Iterator[Frames]:
        for shot, plain in zip(shots, stored(places, shots), strict=True):
            yield from captions.subtitled(enlarge(enlarged(plain)[0]), shot.caption, font)

    height, width = enlarge(enlarged(np.zeros((1, *size, 3), np.uint8))[0]).shape[1:3]
    count = sum(shot.frames for shot in shots)
    write_film(places.video, frames(), height, width)
    print(
        f"written: {places.video}: {len(shots)} shots, {count} frames of {width}x{height} with captions, "
        f"{count / FPS:g} s at {FPS} frames per second; lossless frames in {places.shots}"
    )


def subtitles(places: Places, shots: Sequence[Shot]) -> None:
    """Writes the captions beside the film, and says so."""
    found = captions.cues([shot.frames for shot in shots], [shot.caption for shot in shots], FPS)
    for suffix, text in ((".srt", captions.srt(found)), (".vtt", captions.vtt(found))):
        write_text(places.beside(suffix), text)
    names = " and ".join(places.beside(suffix).name for suffix in (".srt", ".vtt"))
    print(f"written: {names}: {len(found)} captions")
