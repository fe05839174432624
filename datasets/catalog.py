"""Which videos does a data set have? One entry for every reader, and the checks between data sets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from datasets import folder, msrvtt, ucf101, webvid
from datasets.clip import Catalog, choose
from datasets.files import file_size, guarded

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


def shared(
    train: Catalog, evaluation: Catalog, file_digest: Callable[[Path], str] | None = None
) -> list[str]:
    """What two catalogs share: video ids, groups (clips of one recording), files and, with `file_digest`, files of
    equal content under other names; empty when disjoint.

    Ids are compared within one data set only: `video7010` of MSR-VTT and of a user's folder are two videos.
    Files named as clips of UCF-101 belong to its groups in whatever data set they are.
    """
    ids = {v.id for v in train.videos} & {v.id for v in evaluation.videos}
    if train.name != evaluation.name:
        ids = set()
    groups = _groups(train) & _groups(evaluation)
    files = {os.path.realpath(v.path) for v in train.videos} & {os.path.realpath(v.path) for v in evaluation.videos}
    named = [f"video {name}" for name in sorted(ids)] + [f"group {name}" for name in sorted(groups)]
    equal = _equal_files(train, evaluation, file_digest) if file_digest and not files else []
    return named + [f"file {path}" for path in sorted(files)] + equal


def _equal_files(train: Catalog, evaluation: Catalog, file_digest: Callable[[Path], str]) -> list[str]:
    """Files of one content; only those of equal size are read."""
    by_size: dict[int, list[Path]] = {}
    for video in train.videos:
        by_size.setdefault(file_size(video.path), []).append(video.path)
    found = []
    for video in evaluation.videos:
        size = file_size(video.path)
        same = [path for path in by_size.get(size, ()) if size and _equal(path, video.path, file_digest)]
        found += [f"file {same[0]} and {video.path} (equal content)"] if same else []
    return found


def _equal(one: Path, other: Path, file_digest: Callable[[Path], str]) -> bool:
    return guarded(one, file_digest) == guarded(other, file_digest)


def _groups(catalog: Catalog) -> set[str]:
    named = {video.group for video in catalog.videos if video.group}
    parsed = (ucf101.parse_name(video.path.stem) for video in catalog.videos)
    return named | {clip[2] for clip in parsed if clip}


def check_disjoint(
    train: Catalog, evaluation: Catalog, file_digest: Callable[[Path], str] | None = None
) -> None:
    """Raises ValueError when training and evaluation share a video, a group of UCF-101, a file or, with
    `file_digest`, the content of a file.
    """
    both = shared(train, evaluation, file_digest)
    if both:
        sets = f"training ({train.root}) and evaluation ({evaluation.root})"
        raise ValueError(f"{sets} share {len(both)} items, the first: {both[0]}")


def check_listed(
    root: Path,
    listed: Iterable[tuple[str, int, str]],
    evaluation: Catalog,
    file_digest: Callable[[Path], str],
) -> None:
    """`check_disjoint` for a training set of which only (id, bytes, sha256) is known, video by video: memory holds the
    evaluation set alone.
    """
    groups = _groups(evaluation)
    by_size: dict[int, list[Path]] = {}
    for video in evaluation.videos:
        by_size.setdefault(file_size(video.path), []).append(video.path)
    for name, size, sha256 in listed:
        clip = ucf101.parse_name(name)
        same = [path for path in by_size.get(size, ()) if size and guarded(path, file_digest) == sha256]
        shared_group = clip is not None and clip[2] in groups
        if same or shared_group:
            what = f"{same[0]} (equal content)" if same else f"group {clip[2] if clip else ''}"
            raise ValueError(f"training ({root}) and evaluation ({evaluation.root}) share video {name}: {what}")


def content_digest(catalog: Catalog, file_digest: Callable[[Path], str]) -> str:
    """sha256 over all that clips depend on: ids, captions, labels, groups, every file's bytes, the notes.

    `file_digest` gives the hex digest of one file; a caller may answer from a cache. A file that cannot be read
    counts by the reason.
    """
    whole = hashlib.sha256(json.dumps([catalog.name, catalog.notes]).encode("ascii"))
    for video in sorted(catalog.videos, key=lambda video: video.id):
        content = guarded(video.path, file_digest)
        line: list[object] = [video.id, list(video.captions), video.label, video.group, content]
        line += [video.told] if video.told else []
        whole.update(json.dumps(line).encode("ascii") + b"\n")
    return whole.hexdigest()
