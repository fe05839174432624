"""UCF-101: which clips are on disk, to which class, group and split do they belong?

Layout: `UCF-101/<Class>/v_<Class>_g<group>_c<clip>.avi` and `ucfTrainTestlist/{train,test}list0{1,2,3}.txt`;
the root is the folder that holds both, or `UCF-101` itself. 25 groups a class: clips of one group come from
one recording. Source: Soomro et al., CRCV-TR-12-01; for research. Copies spell one class `HandstandPushups`
or `HandStandPushups`: both are read, and have the same ids, so that the same seed draws the same clips from
either copy.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from datasets.clip import Catalog, Video
from datasets.files import folder, is_video, one_line, read_text, walk
from datasets.procedural import class_words

LISTS_FOLDER = "ucfTrainTestlist"
SPLITS = tuple(f"{part}{number}" for part in ("train", "test") for number in (1, 2, 3))
_NAME = re.compile(r"v_(?P<label>[A-Za-z0-9]+)_g(?P<group>\d{2,})_c(?P<clip>\d{2,})", re.IGNORECASE)
_SPLIT = re.compile(r"(train|test)(?:list)?_?0?([123])(?:\.txt)?", re.IGNORECASE)
_LABEL = {"handstandpushups": "HandstandPushups"}  # as in classInd.txt
_IN_ID = {"handstandpushups": "HandStandPushups"}  # as in the official file names


def read(root: Path, split: str | None = None) -> Catalog:
    """The clips of a split ("test1", "train3"; `testlist01` is understood too), or all of them without one.

    Without split lists all clips are taken, with a note. Listed clips that are absent are in `missing`, with
    a note. Raises ValueError for an unknown split, a damaged list or two files for one clip.
    """
    wanted = split_name(split)
    clips, notes = _on_disk(folder(root))
    lists = _read_lists(root)
    listed = _listed(lists, wanted)
    if listed is None:
        notes.append(_no_list(wanted, lists, len(clips)))
        return Catalog("ucf101", root, clips, tuple(notes))
    missing = _missing(listed, clips)
    if missing:
        of = f"split {wanted}" if wanted else "the split lists"
        notes.append(f"{len(missing)} of the {len(listed)} clips in {of} are absent, the first: {missing[0]}")
    if wanted is not None:
        clips = tuple(replace(video, split=wanted) for video in clips if video.id in listed)
    return Catalog("ucf101", root, clips, tuple(notes), tuple(missing))


def split_name(split: str | None) -> str | None:
    """`testlist01`, `test01` and `test1` are one split. Raises ValueError for anything else."""
    if split is None:
        return None
    match = _SPLIT.fullmatch(split)
    if not match:
        raise ValueError(f"split is {split!r}. Known for ucf101: {', '.join(SPLITS)}.")
    return match[1].lower() + match[2]


def parse_name(stem: str) -> tuple[str, str, str] | None:
    """(id, class, group) from a file's stem, None if it is not named as a clip of UCF-101.

    >>> parse_name("v_HandstandPushups_g03_c01")
    ('v_HandStandPushups_g03_c01', 'HandstandPushups', 'HandstandPushups_g03')
    """
    match = _NAME.fullmatch(stem)
    if not match:
        return None
    spelled, group = match["label"], match["group"]
    label = _LABEL.get(spelled.lower(), spelled)
    return f"v_{_IN_ID.get(spelled.lower(), spelled)}_g{group}_c{match['clip']}", label, f"{label}_g{group}"


def _on_disk(root: Path) -> tuple[tuple[Video, ...], list[str]]:
    videos, strange = [], []
    below = root / "UCF-101" if (root / "UCF-101").is_dir() else root
    for path in walk(below):
        if not is_video(path):
            continue
        parsed = parse_name(path.stem)
        if parsed is None:
            strange.append(one_line(path.name))
            continue
        name, label, group = parsed
        videos.append(Video(name, path, (class_words(label),), label, group))
    videos.sort(key=lambda video: video.id)
    notes = []
    if strange:
        notes.append(
            f"{len(strange)} files are not named v_Class_gNN_cNN and left out, the first: {strange[0]}"
        )
    if not videos:
        notes.append(f"no clip of UCF-101 below {below}")
    return tuple(videos), notes


def _read_lists(root: Path) -> dict[str, dict[str, str]]:
    """split -> {clip id: its line}, for the lists found beside or above the clips."""
    places = [root / LISTS_FOLDER, root.absolute().parent / LISTS_FOLDER, root]
    for place in places:
        found = {s: place / f"{s[:-1]}list0{s[-1]}.txt" for s in SPLITS}
        lists = {split: _read_list(path) for split, path in found.items() if path.is_file()}
        if lists:
            return lists
    return {}


def _read_list(path: Path) -> dict[str, str]:
    clips: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        parsed = parse_name(Path(words[0].replace("\\", "/")).stem)
        if parsed is None:
            raise ValueError(
                f"{path}:{number}: {line.strip()!r} names no clip; expected Class/v_Class_gNN_cNN.avi"
            )
        if parsed[0] in clips:
            raise ValueError(f"{path}:{number}: {parsed[0]} is listed twice")
        clips[parsed[0]] = words[0]
    return clips


def _listed(lists: dict[str, dict[str, str]], wanted: str | None) -> dict[str, str] | None:
    """What must be there: the split's clips, or those of every list without a split; None if no list says."""
    if wanted is not None:
        return lists.get(wanted)
    return {name: line for clips in lists.values() for name, line in clips.items()} or None


def _no_list(wanted: str | None, lists: dict[str, dict[str, str]], count: int) -> str:
    have = f"only {', '.join(lists)}" if lists else "none"
    applied = f"split {wanted} is not applied, " if wanted else ""
    return f"split lists ({LISTS_FOLDER}): {have} found; {applied}all {count} clips are taken"


def _missing(listed: dict[str, str] | None, clips: tuple[Video, ...]) -> list[str]:
    here = {video.id for video in clips}
    return sorted(line for name, line in (listed or {}).items() if name not in here)
