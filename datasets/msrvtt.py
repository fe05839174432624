"""MSR-VTT: which videos are on disk, with which captions, in which split?

Layout: `*_videodatainfo.json` (the official schema: info, videos, sentences; 20 captions a video) unpacked or
inside a zip beside the videos; `MSRVTT_JSFUSION_test.csv` for the split "1k-A"; videos in TestVideo/,
TrainValVideo/ or anywhere below the root, found by name. Source: Xu et al., CVPR 2016; 1k-A: Yu et al., ECCV
2018; for research.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from datasets.clip import Catalog, Video, choose
from datasets.files import (
    Json,
    folder,
    is_video,
    members,
    one_line,
    parse_csv,
    parse_json,
    printable,
    read_member,
    read_text,
    walk,
)

ANNOTATION_SUFFIX = "_videodatainfo.json"
SPLITS = ("train", "validate", "test", "1k-A")
_ALIASES = {"val": "validate", "validation": "validate", "1ka": "1k-A", "1k-a": "1k-A", "jsfusion": "1k-A"}


@dataclass
class _Annotations:
    """What the annotation files say, by video id."""

    split: dict[str, str] = field(default_factory=dict)
    meta: dict[str, dict[str, str]] = field(default_factory=dict)
    captions: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def read(root: Path, split: str | None = None) -> Catalog:
    """The videos of a split ("train", "validate", "test", "1k-A"), or all annotated ones without one.

    Captions are in the order of the annotation file; in "1k-A" a video has its one sentence of that list.
    Without annotations all videos are taken, with a note. Raises ValueError for damaged annotation files, an
    unknown split or two files of one name.
    """
    wanted = choose("split", _ALIASES.get(split.lower(), split), SPLITS) if split is not None else None
    files = list(walk(folder(root)))
    on_disk = _index([path for path in files if is_video(path)])
    annotations = _annotations(files)
    pairs = _sentences(files)
    listed = _listed(annotations, pairs, wanted)
    notes = []
    if not listed:
        notes.append(_unlisted(wanted, bool(annotations.split), len(on_disk)))
        listed = {name: annotations.captions[name] or [*filter(None, [pairs.get(name)])] for name in on_disk}
        wanted = None
    here = sorted(listed.keys() & on_disk.keys())
    videos = tuple(_video(name, on_disk[name], listed[name], annotations, wanted) for name in here)
    missing = tuple(name for name in listed if name not in on_disk)
    if missing:
        of = f"split {wanted}" if wanted else "the annotation files"
        first = one_line(missing[0])
        notes.append(f"{len(missing)} of the {len(listed)} videos in {of} are absent, the first: {first}")
    extra = sorted(on_disk.keys() - annotations.split.keys() - pairs.keys() - set(here))
    if extra:
        first = one_line(extra[0])
        notes.append(f"{len(extra)} videos are in no annotation file and left out, the first: {first}")
    return Catalog("msrvtt", root, videos, tuple(notes), missing)


def _listed(known: _Annotations, pairs: dict[str, str], wanted: str | None) -> dict[str, list[str]]:
    """video id -> captions of the split; the 1k-A list stands in where there is no annotation file."""
    if wanted == "1k-A" or (wanted is None and not known.split):
        return {name: [sentence] for name, sentence in pairs.items()}
    return {name: known.captions[name] for name, part in known.split.items() if wanted in (None, part)}


def _unlisted(wanted: str | None, annotated: bool, count: int) -> str:
    if annotated:
        return f"the annotation files name no video of split {wanted}: all {count} videos are taken"
    applied = f"split {wanted} is not applied, " if wanted else ""
    return f"no *{ANNOTATION_SUFFIX} found (nor a list of 1k-A): {applied}all {count} videos are taken"


def _index(paths: Iterable[Path]) -> dict[str, Path]:
    index: dict[str, Path] = {}
    for path in paths:
        name = printable(path.stem)
        if name in index:
            raise ValueError(f"two files are video {name!r}: {index[name]} and {path}. Keep one.")
        index[name] = path
    return index


def _video(name: str, path: Path, captions: list[str], known: _Annotations, split: str | None) -> Video:
    meta = known.meta.get(name, {})
    part = split or known.split.get(name)
    return Video(name, path, tuple(captions), None, meta.get("url") or None, part, meta)


def _annotations(files: list[Path]) -> _Annotations:
    """Unpacked files first; a zip member of the same name as one of them is the same file and passed over."""
    found = _Annotations()
    unpacked = [path for path in files if path.name.endswith(ANNOTATION_SUFFIX)]
    for path in unpacked:
        _add(found, parse_json(read_text(path), str(path)), str(path))
    seen = {path.name for path in unpacked}
    for archive in (path for path in files if path.suffix.lower() == ".zip"):
        for member in members(archive):
            name = PurePosixPath(member).name
            if name.endswith(ANNOTATION_SUFFIX) and not name.startswith(".") and name not in seen:
                seen.add(name)
                where = f"{archive}[{member}]"
                _add(found, parse_json(read_member(archive, member), where), where)
    return found


def _add(found: _Annotations, content: Json, where: str) -> None:
    for video in _records(content, "videos", where):
        name = _text(video, "video_id", f"{where}: videos")
        if name in found.split:
            raise ValueError(f"{where}: video_id {name!r} is annotated twice")
        found.split[name] = _text(video, "split", f"{where}: video {name}")
        found.meta[name] = {
            key: str(value) for key, value in video.items() if key not in ("video_id", "split")
        }
    for sentence in _records(content, "sentences", where):
        name = _text(sentence, "video_id", f"{where}: sentences")
        found.captions[name].append(_text(sentence, "caption", f"{where}: a sentence of {name}").strip())


def _records(content: Json, key: str, where: str) -> list[Json]:
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(
            f"{where}: {key!r} is not a list of objects (MSR-VTT's schema: info, videos, sentences)"
        )
    return records


def _text(record: Json, key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: {key!r} is {value!r}; text was expected")
    return value


def _sentences(files: list[Path]) -> dict[str, str]:
    """video id -> sentence, from the 1k-A list (columns video_id and sentence; `,` or `;`)."""
    lists = [path for path in files if path.suffix.lower() == ".csv" and "jsfusion" in path.name.lower()]
    pairs: dict[str, str] = {}
    for path in lists:
        header, rows = parse_csv(read_text(path), str(path))
        if not {"video_id", "sentence"} <= set(header):
            raise ValueError(f"{path}: the columns are {header}; video_id and sentence were expected")
        name_at, text_at = header.index("video_id"), header.index("sentence")
        for line, cells in rows:
            if len(cells) != len(header) or cells[name_at] in pairs:
                raise ValueError(
                    f"{path}:{line}: {len(cells)} cells of {len(header)}, or a video listed twice"
                )
            pairs[cells[name_at]] = cells[text_at].strip()
    return pairs
