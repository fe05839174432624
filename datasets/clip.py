"""What is a video, a clip, a catalog of videos and a selection of clips?

Shapes: a clip's frames are uint8 (T, H, W, 3), RGB, 0..255; `frame_stride` counts source frames between two
of them.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TOLD = ("scene", "motion", "dynamic")
_SHARE = re.compile(r"0(\.[0-9]{1,9})?|1(\.0{1,9})?")
Frames = NDArray[np.uint8]  # (T, H, W, 3) RGB


class BadVideo(Exception):
    """A video that cannot be used; `reason` is what a report prints beside its name."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def plain(text: str) -> str:
    """A caption as text that any file and terminal can hold: control characters become spaces, halves of characters
    (lone surrogates, which JSON can spell) are written out.
    """
    if text.isprintable():
        return text
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in whole)


@dataclass(frozen=True)
class Video:
    """One video file of a data set and what the data set says about it.

    `group` names videos that are not independent (UCF-101: one recording cut into clips; MSR-VTT: one source
    film); intervals resample groups, and training and evaluation may not share one.
    """

    id: str
    path: Path
    captions: tuple[str, ...] = ()
    label: str | None = None
    group: str | None = None
    split: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "captions", tuple(plain(text) for text in self.captions))

    @property
    def told(self) -> dict[str, str]:
        """The columns that `python -m bench captions` writes, where the table has all of them and a number; or none."""
        found = {name: plain(self.meta[name]) for name in TOLD if name in self.meta}
        return found if len(found) == len(TOLD) and _SHARE.fullmatch(found["dynamic"]) else {}


@dataclass(frozen=True)
class Catalog:
    """The videos of one data set that are on disk, those listed and absent, and what had to be noted.

    Raises ValueError when two videos share an id: a draw, a record and a file name each belong to one id.
    """

    name: str
    root: Path
    videos: tuple[Video, ...]
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # listed names (paths relative to the root where the list gives paths)

    def __post_init__(self) -> None:
        twice = sorted(name for name, count in Counter(v.id for v in self.videos).items() if count > 1)
        if twice:
            paths = [str(v.path) for v in self.videos if v.id == twice[0]]
            raise ValueError(
                f"{self.root}: {len(twice)} video ids are not unique in {self.name}: {twice[0]!r} "
                f"names {' and '.join(paths)}. Keep one file for each id."
            )


@dataclass(frozen=True)
class Clip:
    """T frames of one video with their prompt. `fps`: the source's frames per second, None if unknown.

    `id` is the video's id; from the second clip of a video on, `#1`, `#2`, ... is added.
    """

    id: str
    frames: Frames
    fps: float | None
    prompt: str
    group: str | None
    label: str | None
    start: int  # source frame of frames[0]
    frame_stride: int
    notes: tuple[str, ...]
    video: str
    told: Mapping[str, str] = field(default_factory=dict)  # what the data set's table says of the caption's motion


@dataclass(frozen=True)
class SetAside:
    """A video that was chosen and could not be used, and why."""

    id: str
    path: Path
    reason: str


@dataclass
class Selection:
    """Clips one at a time, so that memory does not grow, and what was noted on the way.

    `set_aside` and `notes` are complete once every clip has come.
    """

    clips: Iterator[Clip]
    set_aside: list[SetAside]
    notes: list[str]

    def __iter__(self) -> Iterator[Clip]:
        return self.clips


def choose(where: str, value: str, known: Collection[str]) -> str:
    """Returns `value`. Raises ValueError naming where it came from, what is allowed and the nearest name."""
    if value in known:
        return value
    near = difflib.get_close_matches(value, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{where} is {value!r}. Known: {', '.join(known)}.{hint}")
