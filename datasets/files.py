"""How are files of a data set found and read without following a name, a link or an archive somewhere else?

Names are bytes on disk: ids are made printable (`\\xff` for what is not UTF-8), paths keep their bytes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import cast

_SUFFIXES = "avi mp4 m4v mov mkv webm gif mpg mpeg wmv asf flv ogv 3gp"
VIDEO_SUFFIXES = frozenset("." + name for name in _SUFFIXES.split())
MAX_TEXT_BYTES = 512 * 2**20  # the largest annotation file known is MSR-VTT's train_val JSON, 16 MB

Json = dict[str, object]


def folder(root: Path) -> Path:
    """Returns `root`. Raises ValueError unless it is a folder."""
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    return root


def walk(root: Path) -> Iterator[Path]:
    """Every file below `root` in sorted order, hidden ones left out; linked folders are entered once."""
    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(root, followlinks=True):
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in sorted(names) if not name.startswith("."))


def is_video(path: Path) -> bool:
    """True for the suffixes in VIDEO_SUFFIXES, in either case."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def printable(name: str) -> str:
    """A file name as text that JSON and a terminal line can hold: bytes that are not UTF-8 become `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def one_line(name: str) -> str:
    """`printable`, with line breaks and other control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in printable(name))


def under_root(root: Path, value: str, where: str) -> Path:
    """`root / value` for a path written in an annotation file.

    Raises ValueError if it would leave the root.
    """
    parts = PurePosixPath(value.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in value or ":" in parts[0]:
        raise ValueError(f"{where}: the path {value!r} is empty or leaves {root}; allowed are paths below it")
    return root.joinpath(*parts)


def read_text(path: Path) -> str:
    """The text of an annotation file, UTF-8 with or without a mark.

    Raises ValueError beyond MAX_TEXT_BYTES.
    """
    with path.open("rb") as file:
        return _decode(file.read(MAX_TEXT_BYTES + 1), str(path))


def read_member(archive: Path, member: str) -> str:
    """The text of one zip member, read in memory: nothing is extracted, its stated size is not trusted."""
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as file:
            return _decode(file.read(MAX_TEXT_BYTES + 1), f"{archive}[{member}]")
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise ValueError(f"{archive}[{member}] cannot be read: {error}") from error


def members(archive: Path) -> list[str]:
    """Names in a zip file. Raises ValueError when it is not one."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{archive} is not a readable zip file: {error}") from error


def _decode(data: bytes, where: str) -> str:
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"{where} is larger than {MAX_TEXT_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8 text: {error}") from error


def parse_json(text: str, where: str) -> Json:
    """A JSON object. Raises ValueError naming the file for anything else."""
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where} holds a {type(value).__name__}; an object was expected")
    return cast(Json, value)


def parse_csv(text: str, where: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and (line number, cells) of a CSV file; `;` separates where the header has no `,`."""
    delimiter = ";" if "," not in text.partition("\n")[0] and ";" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"{where}:{reader.line_num}: not CSV: {error}") from error
    return ([cell.strip() for cell in rows[0][1]] if rows else []), rows[1:]
