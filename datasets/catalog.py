"""Which videos does a data set have? One entry for every reader, and the checks between data sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from datasets import folder, msrvtt, ucf101, webvid
from datasets.clip import Catalog, choose

READERS: dict[str, Callable[[Path, str | None], Catalog]] = {
    "ucf101": ucf101.read,
    "msrvtt": msrvtt.read,
    "webvid": webvid.read,
    "folder": folder.read,
}


def open_catalog(name: str, root: Path, split: str | None = None) -> Catalog:
    """Reads a data set's lists; no video is opened.

    Raises ValueError for an unknown name or split, a root that is no folder, damaged annotation files,
    duplicate ids.
    """
    return READERS[choose("data set", name, READERS)](Path(root), split)


def shared(train: Catalog, evaluation: Catalog) -> list[str]:
    """What two catalogs share: video ids, groups (clips of one recording) and files; empty when disjoint.

    Ids are compared within one data set only: `video7010` of MSR-VTT and of a user's folder are two videos.
    Files named as clips of UCF-101 belong to its groups in whatever data set they are.
    """
    ids = {v.id for v in train.videos} & {v.id for v in evaluation.videos}
    if train.name != evaluation.name:
        ids = set()
    groups = _groups(train) & _groups(evaluation)
    files = {v.path.resolve() for v in train.videos} & {v.path.resolve() for v in evaluation.videos}
    named = [f"video {name}" for name in sorted(ids)] + [f"group {name}" for name in sorted(groups)]
    return named + [f"file {path}" for path in sorted(files)]


def _groups(catalog: Catalog) -> set[str]:
    named = {video.group for video in catalog.videos if video.group}
    parsed = (ucf101.parse_name(video.path.stem) for video in catalog.videos)
    return named | {clip[2] for clip in parsed if clip}


def check_disjoint(train: Catalog, evaluation: Catalog) -> None:
    """Raises ValueError when training and evaluation share a video, a group of UCF-101 or a file."""
    both = shared(train, evaluation)
    if both:
        sets = f"training ({train.root}) and evaluation ({evaluation.root})"
        raise ValueError(f"{sets} share {len(both)} items, the first: {both[0]}")


def content_digest(catalog: Catalog, file_digest: Callable[[Path], str]) -> str:
    """sha256 over all that clips depend on: ids, captions, labels, groups, every file's bytes, the notes.

    `file_digest` gives the hex digest of one file; a caller may answer from a cache.
    """
    whole = hashlib.sha256(json.dumps([catalog.name, catalog.notes]).encode("ascii"))
    for video in sorted(catalog.videos, key=lambda video: video.id):
        line = [video.id, list(video.captions), video.label, video.group, file_digest(video.path)]
        whole.update(json.dumps(line).encode("ascii") + b"\n")
    return whole.hexdigest()
