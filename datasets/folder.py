"""A folder of videos of any origin: which are they, and which prompt goes with each?

Layouts: videos anywhere below the root, each with a prompt in `<same name>.txt` if there is one; or a folder
per item holding `input.*`, `output.*` and `prompt.txt`, one video each. Ids are paths below the root without
the suffix (an item's id is its folder), with `/` between folders.
"""

from __future__ import annotations

import json
from pathlib import Path

from datasets.clip import Catalog, Video
from datasets.files import folder, is_video, parse_csv, parse_json, printable, read_text, walk

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp"))
_ID_COLUMNS = ("id", "videoid", "video_id", "file")
_PROMPT_COLUMNS = ("prompt", "caption", "sentence", "name")


def read(root: Path, split: str | None = None, captions: Path | None = None) -> Catalog:
    """Every video below the root. `captions`: a file of prompts (`read_captions`) in place of the sidecars.

    Raises ValueError when a split is asked for, when two files share an id or when the captions do not fit.
    """
    if split is not None:
        raise ValueError(f"split is {split!r}: a folder of videos has no splits")
    files = list(walk(folder(root)))
    videos = [_video(root, path) for path in files if is_video(path) and not _is_input(path)]
    notes = [f"no video below {root}"] if not videos else []
    if captions is not None:
        videos, unused = _captioned(videos, captions)
        if unused:
            notes.append(
                f"{len(unused)} prompts of {captions.name} belong to no video, the first: {unused[0]!r}"
            )
    return Catalog("folder", root, tuple(sorted(videos, key=lambda video: video.id)), tuple(notes))


def _is_input(path: Path) -> bool:
    """An `input.gif` beside an `output.*` is the item's condition, not its video."""
    return path.stem == "input" and any(is_video(other) for other in path.parent.glob("output.*"))


def _video(root: Path, path: Path) -> Video:
    item = path.stem == "output"
    relative = (path.parent if item else path.with_suffix("")).relative_to(root)
    name = printable(relative.as_posix()) if relative.parts else printable(root.absolute().name)
    prompt = path.parent / "prompt.txt" if item else path.with_suffix(".txt")
    text = " ".join(read_text(prompt).split()) if prompt.is_file() else ""
    return Video(name, path, (text,) if text else (), meta=_inputs(path.parent) if item else {})


def _inputs(item: Path) -> dict[str, str]:
    found = sorted(p for p in item.glob("input.*") if p.suffix.lower() in IMAGE_SUFFIXES or is_video(p))
    return {"input": str(found[0])} if found else {}


def _captioned(videos: list[Video], captions: Path) -> tuple[list[Video], list[str]]:
    prompts = read_captions(captions, sorted(video.id for video in videos))
    known = [Video(v.id, v.path, tuple(filter(None, [prompts.pop(v.id, "")])), meta=v.meta) for v in videos]
    return known, sorted(prompts)


def read_captions(path: Path, ids: list[str]) -> dict[str, str]:
    """id -> prompt, from a JSON object, a CSV with id and prompt columns, or a text with a line for each id.

    Lines of a text file belong to `ids` in their order. An id may be written with its file suffix.
    Raises ValueError when columns are missing or the number of lines is another than the number of ids.
    """
    if path.suffix.lower() == ".json":
        pairs = {key: str(value) for key, value in parse_json(read_text(path), str(path)).items()}
    elif path.suffix.lower() == ".csv":
        pairs = _csv_captions(path)
    else:
        lines = read_text(path).splitlines()
        if len(lines) != len(ids):
            raise ValueError(
                f"{path} has {len(lines)} lines for {len(ids)} videos; one prompt a line was expected"
            )
        return dict(zip(ids, lines, strict=True))
    known = set(ids)
    return {_id(key, known): " ".join(text.split()) for key, text in pairs.items()}


def _id(written: str, known: set[str]) -> str:
    stem = str(Path(written).with_suffix("").as_posix()) if written else written
    return stem if written not in known and stem in known else written


def _csv_captions(path: Path) -> dict[str, str]:
    header, rows = parse_csv(read_text(path), str(path))
    name = next((column for column in _ID_COLUMNS if column in header), None)
    text = next((column for column in _PROMPT_COLUMNS if column in header), None)
    if name is None or text is None:
        raise ValueError(
            f"{path}: the columns are {json.dumps(header)}; one of {', '.join(_ID_COLUMNS)} and one of "
            f"{', '.join(_PROMPT_COLUMNS)} were expected"
        )
    pairs: dict[str, str] = {}
    for line, cells in rows:
        if len(cells) != len(header):
            raise ValueError(f"{path}:{line}: {len(cells)} cells, the header has {len(header)}")
        key = cells[header.index(name)]
        if key in pairs:
            raise ValueError(f"{path}:{line}: {key!r} is listed twice")
        pairs[key] = cells[header.index(text)]
    return pairs
