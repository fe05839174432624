"""What must another system animate to be scored fairly? Condition frames and prompts as files, under one hash.

Layout of an export: <out>/<dataset>/ with
    frames/<name>.png   the condition frames, lossless, at the protocol's size
    original/<name>.png (on request) the same frames at the source's own size, for systems of another size
    prompts.csv         id, file, prompt, dataset, frames, frame_stride, fps, source_fps: a line for each video to make
    ids.txt             the ids, one a line, in the reference's order
    conditions.json     all of it for a program: choices of the protocol, sha256 of every picture's pixels, `hash`
    README.txt          what to do, for a person
`hash` covers everything in conditions.json, and with it every pixel and prompt. A picture may be written anew by any
lossless program: pixels count, not bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.fingerprint import digest
from bench.scoring.frames import pixels_digest
from bench.scoring.outputs import some
from datasets.clip import Frames
from datasets.files import parse_csv, parse_json, read_text, under_root
from datasets.images import read_image

KIND = "i2v-bench conditions"
SCHEMA = 1
FILE = "conditions.json"
COLUMNS = ("id", "file", "prompt", "dataset", "frames", "frame_stride", "fps", "source_fps")
CHOICES = (  # fields of a protocol that decide what is animated
    "frames",
    "frame_stride",
    "size",
    "resize",
    "condition_frame",
    "split",
    "videos",
    "selection_seed",
    "clips_per_video",
    "start",
    "too_short",
    "prompts",
)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_RESERVED = frozenset(("", "input", "output", "prompt"))  # names that mean something in a folder of videos
LONGEST = 100  # characters of a file's name


@dataclass(frozen=True)
class Condition:
    """One thing to animate; `file` and `original` are paths below the export's folder."""

    id: str
    file: str
    pixels: str
    prompt: str
    frames: int
    frame_stride: int
    source_fps: float | None
    original: str | None = None
    original_pixels: str | None = None

    @property
    def name(self) -> str:
        """The name that the system's video of it should have, without a suffix."""
        return Path(self.file).stem

    @property
    def fps(self) -> float | None:
        """Frames per second of the clip to make."""
        return None if self.source_fps is None else self.source_fps / self.frame_stride

    def row(self, dataset: str) -> list[str]:
        """Its line in prompts.csv."""
        numbers = ["" if value is None else f"{value:.6g}" for value in (self.fps, self.source_fps)]
        return [self.id, self.file, self.prompt, dataset, str(self.frames), str(self.frame_stride), *numbers]


@dataclass(frozen=True)
class Conditions:
    """An export as read back; `problems` say what was changed since, in sentences."""

    folder: Path
    dataset: str
    protocol: str
    choices: Mapping[str, Any]
    items: tuple[Condition, ...]
    samples: int  # asked for when they were exported
    hash: str
    problems: tuple[str, ...] = field(default=())

    @property
    def aliases(self) -> dict[str, str]:
        """File name without suffix -> id."""
        return {item.name: item.id for item in self.items}

    def disagreements(self, values: Mapping[str, Any]) -> list[str]:
        """Where the protocol that scores asks for other conditions than these, in words."""
        return [
            f"{name} is {json.dumps(value)} in the conditions ({self.protocol}), {json.dumps(values[name])} here"
            for name, value in self.choices.items()
            if name in values and values[name] != value
        ]


def safe_names(ids: Sequence[str]) -> list[str]:
    """A file name for each id: the id itself where any file system can hold it, else made so and told apart by a hash.

    Unique even where file systems know no difference between a and A.
    """
    names: list[str] = []
    taken: set[str] = set()
    for one in ids:
        name = _UNSAFE.sub("_", one).strip(".")[:LONGEST]
        if name != one or name.lower() in taken | _RESERVED:
            name = f"{name}-{hashlib.sha256(one.encode()).hexdigest()[:8]}".lstrip("-")
        taken.add(name.lower())
        names.append(name)
    return names


def to_json(dataset: str, protocol: Mapping[str, Any], about: Mapping[str, Any], items: Sequence[Condition]) -> Any:
    """The content of conditions.json. `protocol`: as `Protocol.config`; `about`: what else the hash should cover."""
    content = {
        "kind": KIND,
        "schema": SCHEMA,
        "dataset": dataset,
        "protocol": {"name": protocol["name"], "hash": protocol["hash"]},
        "choices": {name: protocol["values"][name] for name in CHOICES if name in protocol["values"]},
        **about,
        "items": [dict(vars(item)) for item in items],
    }
    return {**content, "hash": digest(content)}


def prompts_csv(dataset: str, items: Sequence[Condition]) -> str:
    """The text of prompts.csv."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *(item.row(dataset) for item in items)])
    return text.getvalue()


def find_conditions(folder: Path, dataset: str | None = None) -> Path | None:
    """The folder of an export: `folder`, or the one of the data set in it. None when there is no export."""
    places = [folder / dataset] if dataset else []
    return next((place for place in [*places, folder] if (place / FILE).is_file()), None)


def read_conditions(folder: Path) -> Conditions:
    """An export, checked: `problems` name every picture and prompt that is missing, changed or too many.

    Raises ValueError when conditions.json is no such file, or is not what its hash was made of.
    """
    path = folder / FILE
    content = parse_json(read_text(path), str(path))
    if content.get("kind") != KIND or content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: kind {content.get('kind')!r}, schema {content.get('schema')!r}; wanted {KIND!r}, "
                         f"schema {SCHEMA}, as `python -m bench conditions` writes it")  # fmt: skip
    found = digest({key: value for key, value in content.items() if key != "hash"})
    if found != content.get("hash"):
        raise ValueError(f"{path}: its content has the hash {found[:12]}, it says {str(content.get('hash'))[:12]}: it "
                         "was changed since it was exported. Export the conditions again")  # fmt: skip
    try:
        items = tuple(_condition(folder, item) for item in content["items"])  # type: ignore[attr-defined]
        dataset, protocol = str(content["dataset"]), str(content["protocol"]["name"])  # type: ignore[index]
        choices, samples = dict(content["choices"]), int(content["samples"])  # type: ignore[call-overload]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not as `python -m bench conditions` writes it ({error})") from None
    problems = (*_pictures(folder, items), *_prompts(folder, dataset, items))
    return Conditions(folder, dataset, protocol, choices, items, samples, found, problems)


def _condition(folder: Path, item: Mapping[str, Any]) -> Condition:
    """One entry of the file. Raises TypeError for what it should not hold, ValueError for a path that leaves it."""
    found = Condition(**item)
    texts, numbers = (found.id, found.file, found.pixels, found.prompt), (found.frames, found.frame_stride)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise TypeError(f"item {str(item.get('id'))[:80]!r}")
    for path in filter(None, (found.file, found.original)):
        under_root(folder, path, FILE)
    return found


def _pictures(folder: Path, items: Sequence[Condition]) -> list[str]:
    """What differs between the pictures on disk and those that were exported."""
    wanted = {item.file: item.pixels for item in items}
    wanted |= {item.original: item.original_pixels or "" for item in items if item.original is not None}
    missing = [name for name in wanted if not (folder / name).is_file()]
    changed = [name for name, pixels in wanted.items() if name not in missing and _pixels(folder / name) != pixels]
    there = [path for place in ("frames", "original") for path in sorted((folder / place).glob("*"))]
    extra = [path.name for path in there if path.relative_to(folder).as_posix() not in wanted]
    found = (("missing", missing), ("changed", changed), ("not part of the export", extra))
    return [f"conditions: {len(files)} pictures {words}: {some(files)}" for words, files in found if files]


def _pixels(path: Path) -> str:
    try:
        return pixels_digest(read_image(path))
    except ValueError:
        return "unreadable"


def _prompts(folder: Path, dataset: str, items: Sequence[Condition]) -> list[str]:
    """What differs between prompts.csv and what was exported."""
    path = folder / "prompts.csv"
    if not path.is_file():
        return ["conditions: prompts.csv is missing"]
    try:
        header, rows = parse_csv(read_text(path), str(path))
    except ValueError as error:
        return [f"conditions: {error}"]
    wanted = {item.id: item.row(dataset) for item in items}
    there = {cells[0]: cells for _, cells in rows}
    lists = {
        "missing": [name for name in wanted if name not in there],
        "changed": [name for name, row in wanted.items() if name in there and there[name] != row],
        "not part of the export": [name for name in there if name not in wanted],
    }
    said = [f"conditions: {len(ids)} lines of prompts.csv {words}: {some(ids)}" for words, ids in lists.items() if ids]
    return said + (["conditions: the columns of prompts.csv were changed"] if tuple(header) != COLUMNS else [])


README = """\
Conditions for {count} videos: {dataset}, protocol {protocol}
hash {hash}

For each line of prompts.csv, animate the picture `file` as `prompt` asks (an empty prompt: the picture alone) and
write one video named as the picture: {example}.<suffix>

    frames       {frames} frames or more; the first {frames} are scored. Frame 0 belongs to the picture's moment.
    frame_stride frame k of the video should show the moment {stride} * k source frames after the picture
    fps          at which such a video plays: source_fps / frame_stride. Systems that are told frames per second get
                 this, systems that are told a stride get frame_stride. The rate that your file states changes nothing.
    size         {height} high, {width} wide; other sizes are resized so that they cover it, then cropped to the centre
    files        lossless: a folder <name>/0000.png, 0001.png, ... or FFV1 in RGB (.mkv). Other files (mp4, gif, webm,
                 ...) are scored too, and marked as not comparable: their codec would be scored with the system.
{original}
One video for each line, no picks: what is missing is counted. Then:

    python -m bench score VIDEOS --inputs THIS_FOLDER --reference {dataset}={root} \\
        --protocol {protocol} --profile {profile}

Do not change this folder: every picture and prompt is checked against the hash.
"""
ORIGINAL = """\
    original/    the same frames at the source's own size, uncropped, for systems that work at another size; what they
                 make is resized and cropped as above
"""


def readme(content: Mapping[str, Any], root: str) -> str:
    """README.txt, for a person."""
    first, size = content["items"][0], content["choices"]["size"]
    return README.format(
        count=len(content["items"]),
        dataset=content["dataset"],
        protocol=content["protocol"]["name"],
        hash=content["hash"],
        example=Path(first["file"]).stem,
        frames=first["frames"],
        stride=first["frame_stride"],
        height=size[0],
        width=size[1],
        original=ORIGINAL if first["original"] else "",
        profile=content["profile"],
        root=root,
    )


def write_png(path: Path, picture: Frames) -> str:
    """Writes one picture (h, w, 3) without loss; returns the digest of its pixels, read back from the file.

    Raises ValueError when the file does not give back what was written.
    """
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, format="PNG")
    back = pixels_digest(read_image(path))
    if back != pixels_digest(picture):
        raise ValueError(f"{path}: the picture does not read back as it was written")
    return back
