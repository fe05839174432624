"""How are files of a data set found and read without following a name, a link or an archive somewhere else?

Names are bytes on disk: ids are made printable (`\\xff` for what is not UTF-8), paths keep their bytes.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import cast

_SUFFIXES = "avi mp4 m4v mov mkv webm gif mpg mpeg wmv asf flv ogv 3gp"
VIDEO_SUFFIXES = frozenset("." + name for name in _SUFFIXES.split())
MAX_TEXT_BYTES = 512 * 2**20  # the largest annotation file known is MSR-VTT's train_val JSON, 16 MB

MAX_NAME_BYTES = 255  # of one folder or file
MAX_PATH = 2048  # characters
BAD_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError, struct.error)

Json = dict[str, object]


def folder(root: Path) -> Path:
    """Returns `root`. Raises ValueError unless it is a folder."""
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    return root


def walk(root: Path) -> Iterator[Path]:
    """Every file below `root` in sorted order, hidden ones left out; linked folders are entered once.

    An empty folder whose name ends like a video is given too, for it to be named. Raises ValueError for a folder that
    cannot be listed: its files would be missing without a word.
    """
    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(root, followlinks=True, onerror=_unlisted):
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if not names and not folders and is_video(Path(here)):
            yield Path(here)
        yield from (Path(here, name) for name in sorted(names) if not name.startswith("."))


def _unlisted(error: OSError) -> None:
    raise ValueError(f"{error.filename} cannot be listed ({error.strerror}): change its permissions or take it away")


def file_size(path: Path) -> int:
    """Bytes of a regular file; 0 for anything else, or one that cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def guarded(path: Path, read: Callable[[Path], str]) -> str:
    """What `read` says of a regular file, or words that say why it cannot be read; a pipe is never waited for."""
    try:
        return read(path) if stat.S_ISREG(path.stat().st_mode) else "not a regular file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


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
    if not parts or parts[0].startswith("/") or ".." in parts or "\0" in value or ":" in parts[0]:
        raise ValueError(f"{where}: the path {value!r} is empty or leaves {root}; allowed are paths below it")
    longest = max(len(part.encode("utf-8", "backslashreplace")) for part in parts)
    if longest > MAX_NAME_BYTES or len(value) > MAX_PATH:
        raise ValueError(f"{where}: a path of {len(value)} characters, the longest name {longest} bytes; too long")
    return root.joinpath(*parts)


def read_text(path: Path) -> str:
    """The text of an annotation file, UTF-8 with or without a mark.

    Raises ValueError naming the file beyond MAX_TEXT_BYTES, and when it is no file, cannot be read or is no text.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a regular file")  # opening a pipe would wait for ever
        with path.open("rb") as file:  # `read` takes memory for all that it is asked for
            return _decode(file.read(min(status.st_size, MAX_TEXT_BYTES) + 1), str(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def read_member(archive: Path, member: str) -> str:
    """The text of one zip member, read in memory: nothing is extracted, its stated size is not trusted."""
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as file:
            return _decode(file.read(MAX_TEXT_BYTES + 1), f"{archive}[{member}]")
    except (*BAD_ZIP, RuntimeError) as error:  # RuntimeError: encrypted
        raise ValueError(f"{archive}[{member}] cannot be read: {error}") from error


def members(archive: Path) -> list[str]:
    """Names in a zip file. Raises ValueError when it is not one."""
    try:
        if not stat.S_ISREG(archive.stat().st_mode):
            raise ValueError(f"{archive} is not a regular file")
        with zipfile.ZipFile(archive) as opened:
            return opened.namelist()
    except BAD_ZIP as error:
        raise ValueError(f"{archive} is not a readable zip file: {error}") from error


def _decode(data: bytes, where: str) -> str:
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"{where} is larger than {MAX_TEXT_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8 text: {error}") from error


def parse_json(text: str, where: str) -> Json:
    """A JSON object. Raises ValueError naming the file for anything else, a key that is given twice among it."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where} holds a {type(value).__name__}; an object was expected")
    return cast(Json, value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice in one object")
    return found


def parse_csv(text: str, where: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and (line number, cells) of a CSV file; `;` separates where the header has no `,`."""
    first = text.partition("\n")[0]
    delimiter = ";" if "," not in first and ";" in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"{where}:{reader.line_num}: not CSV: {error}") from error
    return ([cell.strip() for cell in rows[0][1]] if rows else []), rows[1:]
