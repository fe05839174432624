"""Which files of a data set are missing, unreadable, damaged or odd? A line each, by name; counts at the end.

Every video is decoded from end to end. *Missing*: listed, not on disk. *Unreadable*: no frame comes out.
*Damaged*: frames are lacking, flagged corrupt or do not decode. *Odd*: decodes in full, but is not what a
data set usually holds (one frame, odd sizes, no colour, no frame rate, a size that changes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.catalog import open_catalog
from datasets.clip import BadVideo, Catalog, Video
from datasets.decode import LIMITS, Limits, Probe, Reader, opened
from datasets.files import one_line

KINDS = ("missing", "unreadable", "damaged", "odd")
_GREY_LEVELS = 2  # largest difference between the channels of a picture that counts as grey (8-bit rounding)
_GREY_EVERY = 10  # frames looked at for colour


@dataclass(frozen=True)
class Finding:
    """What is wrong with one file. `kind` is one of KINDS; `name` is its path below the root."""

    kind: str
    name: str
    reason: str


@dataclass
class Inspection:
    """What an inspection found: a count per kind, the videos looked at and what the reader noted."""

    videos: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """True when nothing is missing, unreadable or damaged (odd files can be used)."""
        return self.videos > 0 and not any(self.counts[kind] for kind in ("missing", "unreadable", "damaged"))


def examine(path: Path, limits: Limits = LIMITS) -> list[tuple[str, str]]:
    """(kind, reason) of everything that is wrong with one video; empty for a sound one.

    Never raises for a bad file.
    """
    try:
        with opened(path, limits) as reader:
            grey, sizes = _look(reader)
            return _verdicts(reader, reader.header(), grey, sizes)
    except BadVideo as bad:
        return [("unreadable", bad.reason)]


def _look(reader: Reader) -> tuple[bool, list[str]]:
    """Decodes everything: whether all frames looked at are grey, and the frame sizes that occur."""
    grey, sizes = True, dict[str, None]()
    for index, frame in enumerate(reader.frames()):
        sizes[f"{frame.width}x{frame.height}"] = None
        if grey and index % _GREY_EVERY == 0:
            picture = reader.rgb(frame).astype(np.int16)
            grey = bool((picture.max(axis=2) - picture.min(axis=2)).max() <= _GREY_LEVELS)
    return grey, list(sizes)


def _verdicts(reader: Reader, header: Probe, grey: bool, sizes: list[str]) -> list[tuple[str, str]]:
    if not reader.decoded:
        return [("unreadable", reader.nothing())]
    damage = reader.damage()
    found = [("damaged", note) for note in damage]
    odd = {
        "one frame only": reader.decoded == 1,
        f"odd size {sizes[0]}": any(int(side) % 2 for side in sizes[0].split("x")),
        f"its size changes: {', '.join(sizes)}": len(sizes) > 1,
        "no colour (grey)": grey,
        "no frame rate": header.fps is None,
    }
    notes = [note for note in reader.notes() if note not in damage and note not in odd]
    return found + [("odd", words) for words in (*(words for words, holds in odd.items() if holds), *notes)]


def inspect_data(
    name: str,
    root: Path,
    report: Callable[[str], None],
    split: str | None = None,
    workers: int = 1,
    limits: Limits = LIMITS,
) -> Inspection:
    """Reads a data set's lists and every video of it: a line for each finding, the counts at the end.

    `workers` threads decode at once; lines come in the order of the ids all the same. Raises ValueError when
    the lists cannot be read (unknown data set or split, damaged annotation file, duplicate ids).
    """
    catalog = open_catalog(name, root, split)
    result = Inspection(videos=len(catalog.videos), notes=catalog.notes)
    for finding in findings(catalog, workers, limits):
        result.counts[finding.kind] += 1
        report(f"{finding.kind:<10} {finding.name}: {finding.reason}")
    for note in catalog.notes:
        report(f"note       {note}")
    report(summary(result))
    return result


def findings(catalog: Catalog, workers: int = 1, limits: Limits = LIMITS) -> Iterable[Finding]:
    """One finding per bad file (its reasons joined, the worst kind first), missing ones before the others."""
    for name in catalog.missing:
        yield Finding("missing", one_line(name), "listed, not on disk")
    with ThreadPoolExecutor(workers) as pool:

        def one(video: Video) -> list[tuple[str, str]]:
            return examine(video.path, limits)

        for video, found in zip(catalog.videos, pool.map(one, catalog.videos), strict=True):
            if found:
                kind = min((kind for kind, _ in found), key=KINDS.index)
                shown = one_line(str(video.path.relative_to(catalog.root)))
                yield Finding(kind, shown, "; ".join(reason for _, reason in found))


def summary(result: Inspection) -> str:
    """The last line: how many videos, and how many of each kind."""
    counts = ", ".join(f"{result.counts[kind]} {kind}" for kind in KINDS)
    return f"{result.videos} videos: {counts}"
