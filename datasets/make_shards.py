"""How do a CSV and mp4 files become tar shards? In the CSV's order, so many rows a shard, each shard on its own.

A shard is a function of its rows and their files: a run that was stopped goes on with the next one, several are made
at once, and the same input gives the same bytes (no times, no owners). Files that cannot be used are set aside, by name
and reason. What is written, and how it is read again: `datasets/shards.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

from datasets.clip import BadVideo, Video, choose
from datasets.decode import opened
from datasets.files import one_line
from datasets.inspect import examine
from datasets.shards import MANIFEST, SCHEMA
from datasets.webvid import stream_videos

CHECKS = ("frames", "header")
Say = Callable[[str], None]
Json = dict[str, Any]


@dataclass(frozen=True)
class Making:
    """What is asked for.

    Args:
        tables: CSV files with WebVid's columns.
        videos: the folder that their paths are below.
        out: where shards go.
        size: rows of the CSV in a shard; bad files leave it with fewer samples.
        check: "frames" decodes every file from end to end, "header" opens it and counts its packets.
        workers: shards made at once.
    """

    tables: Sequence[Path]
    videos: Path
    out: Path
    size: int = 500
    check: str = "frames"
    workers: int = 1

    def __post_init__(self) -> None:
        choose("--check", self.check, CHECKS)
        if min(self.size, self.workers) < 1:
            raise ValueError(f"--size is {self.size}, --workers is {self.workers}; allowed: 1 or more")


@dataclass
class Made:
    """What there is now."""

    shards: list[Json] = field(default_factory=list)
    samples: int = 0
    set_aside: int = 0
    missing: int = 0
    kept: int = 0  # shards that an earlier run had made

    def add(self, told: Json, kept: bool) -> None:
        """Counts one shard by the list beside it."""
        self.shards.append({key: told[key] for key in ("name", "samples", "bytes", "sha256")})
        self.samples += told["samples"]
        self.set_aside += len(told["set_aside"])
        self.missing += len(told["missing"])
        self.kept += kept


def make_shards(making: Making, say: Say = lambda line: None) -> Made:
    """Makes what is not there yet, and the manifest last. Raises ValueError for a CSV that cannot be read."""
    making.out.mkdir(parents=True, exist_ok=True)
    made = Made()
    with closing(_in_order(making)) as shards:
        for told, kept in shards:
            made.add(told, kept)
            for bad in told["set_aside"]:
                say(f"set aside {one_line(bad['path'])}: {bad['reason']}")
            if not kept:
                say(f"{told['name']}: {told['samples']} videos, {told['bytes'] / 1e6:.1f} MB")
    if not made.samples:
        raise ValueError(f"{making.videos}: not one video of {', '.join(map(str, making.tables))} can be used")
    rest = {"samples": made.samples, "set_aside": made.set_aside, "missing": made.missing, "shards": made.shards}
    _write(making.out / MANIFEST, {"schema": SCHEMA, **rest})
    left = sorted({path.name for path in making.out.glob("shard-*.tar")} - {shard["name"] for shard in made.shards})
    if left:
        say(f"{len(left)} tars of an earlier cut are not in {MANIFEST} and may be removed, the first: {left[0]}")
    return made


def _in_order(making: Making) -> Generator[tuple[Json, bool], None, None]:
    """Every shard's list, in order, a few being made ahead."""
    rows = stream_videos(making.tables, making.videos)
    waiting: list[Future[tuple[Json, bool]]] = []
    stop = Event()  # Ctrl-C waits for a video, not for a shard
    with ThreadPoolExecutor(making.workers) as pool:
        try:
            for number, part in enumerate(_parts(rows, making.size)):
                waiting.append(pool.submit(_shard, making, number, part, stop))
                if len(waiting) > making.workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            stop.set()
            for one in waiting:
                one.cancel()


def _parts(rows: Iterable[Video], size: int) -> Iterator[list[Video]]:
    iterator = iter(rows)
    while part := list(islice(iterator, size)):
        yield part


def _shard(making: Making, number: int, videos: list[Video], stop: Event) -> tuple[Json, bool]:
    """One shard's list, and whether it was there."""
    name = f"shard-{number:06d}.tar"
    asked = _asked(making, number, videos)
    tar, beside = making.out / name, making.out / f"shard-{number:06d}.json"
    told = _there(tar, beside, asked)
    if told is not None:
        return told, True
    beside.unlink(missing_ok=True)  # a list never stands beside a tar that it does not tell of
    told = {"name": name, "asked": asked, **_write_tar(making, tar, number, videos, stop)}
    _write(beside, told)
    return told, False


def _asked(making: Making, number: int, videos: list[Video]) -> str:
    """Digest of what a shard is made of: rows and choices, not the files' content."""
    rows = [[v.id, list(v.captions), str(v.path.relative_to(making.videos))] for v in videos]
    return hashlib.sha256(json.dumps([SCHEMA, number, making.size, making.check, rows]).encode("ascii")).hexdigest()


def _there(tar: Path, beside: Path, asked: str) -> Json | None:
    """The list of a shard that was made of the same rows and is whole by its size."""
    try:
        told: Json = json.loads(beside.read_text(encoding="utf-8"))
        return told if told["asked"] == asked and tar.stat().st_size == told["bytes"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_tar(making: Making, tar: Path, number: int, videos: list[Video], stop: Event) -> Json:
    """Writes the tar under another name, renames it when it is whole."""
    from webdataset import TarWriter

    items: list[list[object]] = []
    set_aside: list[Json] = []
    missing: list[str] = []
    temporary = tar.with_name(f".{tar.name}.part")
    with temporary.open("wb") as file:
        with TarWriter(file, user="", group="", compress=False, encoder=False, mtime=0) as writer:
            for row, video in enumerate(videos):
                if stop.is_set():
                    raise CancelledError
                path = str(video.path.relative_to(making.videos))
                if not video.path.is_file():
                    missing.append(path)
                    continue
                reason = unusable(video.path, making.check)
                if reason:
                    set_aside.append({"id": video.id, "path": path, "reason": reason})
                    continue
                data = video.path.read_bytes()
                told = {"id": video.id, "caption": video.captions[0] if video.captions else ""}
                key = f"{number * making.size + row:010d}"
                writer.write({"__key__": key, "json": json.dumps(told).encode("ascii"), "mp4": data})
                items.append([video.id, len(data), hashlib.sha256(data).hexdigest()])
        file.flush()
        os.fsync(file.fileno())
    size, sha256 = temporary.stat().st_size, _sha256(temporary)
    temporary.replace(tar)
    counts = {"samples": len(items), "bytes": size, "sha256": sha256}
    return {**counts, "set_aside": set_aside, "missing": missing, "items": items}


def unusable(path: Path, check: str) -> str:
    """Why a file is set aside; "" for one that can be used, odd ones among them."""
    if check == "frames":
        return "; ".join(f"{kind}: {reason}" for kind, reason in examine(path) if kind != "odd")
    try:
        with opened(path) as reader:
            return "" if reader.count_packets() else reader.nothing()
    except BadVideo as bad:
        return bad.reason


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: Json) -> None:
    """A file that is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
