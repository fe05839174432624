"""Which rows of a WebVid-style CSV tell of motion? The table again, filtered, with both texts of every caption.

One row at a time, however many there are. Columns `scene`, `motion` and `dynamic` are added (or made anew) behind the
table's own; the file appears whole or not at all. Cells are text and stay as they are: a caption that begins with = or
@ is one for a data loader, and what is added begins with a letter or a digit. Open such a table in a spreadsheet as
text.
Source: WebVid's columns, Bain et al., ICCV 2021; filter: DynamiCrafter, arXiv:2310.12190, motion control using text.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO, TypeVar

from datasets.clip import choose, plain
from datasets.files import one_line
from datasets.motion_text import Split, split

ADDED = ("scene", "motion", "dynamic")
KEPT = "caption"  # where the caption goes when another text takes its place
TEXTS = ("both", "scene", "motion")
EVERY = 1000  # rows between two words of progress
LONGEST_LINE = 1 << 20  # bytes
Progress = Callable[[int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """What a user wants of a table.

    least: dynamic confidence, rows below it are left out. text: what stands in the captions' own column: "both": the
    caption as it was; "scene" or "motion": that text, and the caption in a column of its own. column: that column.
    """

    least: float = 0.5
    text: str = "both"
    column: str = "name"

    def __post_init__(self) -> None:
        choose("text", self.text, TEXTS)
        if not 0.0 <= self.least <= 1.0:
            raise ValueError(f"the least dynamic confidence is {self.least}; allowed: 0 to 1")


@dataclass
class Counts:
    """What became of the rows; `by`: how many captions each splitter took apart; `notes`: why rules stood in."""

    rows: int = 0
    kept: int = 0
    empty: int = 0
    by: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)


def filter_table(
    source: Path,
    out: Path,
    wanted: Wanted,
    splitter: Callable[[str], Split] = split,
    progress: Progress = lambda rows: None,
    every: int = EVERY,
) -> Counts:
    """Writes `out` from the CSV `source`; `progress` hears of every so many rows.

    Raises ValueError with file and line for what is no such table.
    """
    if source.exists() and out.exists() and os.path.samefile(source, out):
        raise ValueError(f"{out} is the table itself: give another file, the captions left out would be lost")
    if out.exists() and not out.is_file():  # a device too would be replaced by the table
        raise ValueError(f"{out} is there and is no regular file: give the name of a file")
    with _opened(source) as file, _whole(out) as target:
        counts = Counts()
        for rows in _filter(_Reader(source, file), target, wanted, splitter, counts):
            if rows % every == 0:
                progress(rows)
        return counts


def _filter(
    table: _Reader, target: TextIO, wanted: Wanted, splitter: Callable[[str], Split], counts: Counts
) -> Iterator[int]:
    """Writes the table as it is read; gives the number of rows after each."""
    shape = _Shape(table, wanted)
    writer = csv.writer(target, lineterminator="\n", delimiter=table.delimiter)
    writer.writerow(shape.header)
    for line, cells in table.rows():
        found = splitter(shape.caption(line, cells))
        counts.rows += 1
        counts.empty += not found.caption.strip()
        counts.by[found.by] += 1
        counts.notes.update([found.note] if found.note else [])
        if found.dynamic >= wanted.least:
            counts.kept += 1
            writer.writerow(shape.row(cells, found))
        yield counts.rows


class _Reader:
    """Header and rows of a CSV file, strictly: a cell too many or a quote too few is an error with its line."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.line = path, 0
        lines = self._lines(file)
        first = next(lines, "")
        self.delimiter = ";" if "," not in first and ";" in first else ","
        self.reader = csv.reader(itertools.chain([first], lines), delimiter=self.delimiter, strict=True)
        self.header = [cell.strip() for cell in self._guarded(lambda: next(self.reader, []))]
        twice = [name for name, count in Counter(self.header).items() if count > 1]
        if twice:
            raise ValueError(f"{self.path}:1: two columns are called {one_line(twice[0])!r}; wanted one of each")

    def _lines(self, file: BinaryIO) -> Iterator[str]:
        """The lines of the file, each decoded by itself, so that a bad one is named."""
        while data := file.readline(LONGEST_LINE + 1):
            self.line += 1
            if len(data) > LONGEST_LINE:
                raise ValueError(f"{self.path}:{self.line}: a line of more than {LONGEST_LINE} bytes: this is no table")
            try:
                yield data.decode("utf-8-sig" if self.line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{self.path}:{self.line}: not UTF-8 text: {error.reason}") from None

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line where the row ends, cells); empty lines are passed over."""
        while (cells := self._guarded(lambda: next(self.reader, None))) is not None:
            if not cells:
                continue
            line = max(self.line, 1)
            if len(cells) != len(self.header):
                raise ValueError(f"{self.path}:{line}: {len(cells)} cells, the header has {len(self.header)}")
            yield line, cells

    def _guarded(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except csv.Error as error:
            raise ValueError(f"{self.path}:{max(self.line, 1)}: not CSV: {error}") from None


class _Shape:
    """Where the columns are and go. Raises ValueError when the captions' column is not there."""

    def __init__(self, table: _Reader, wanted: Wanted) -> None:
        header, self.path, self.wanted = table.header, table.path, wanted
        if wanted.column not in header:
            found = ", ".join(map(one_line, header)) or "none"
            raise ValueError(f"{table.path}:1: no column {wanted.column!r}, where captions are; found: {found[:500]}")
        self.moved = wanted.text != "both"
        if self.moved and KEPT in header:
            raise ValueError(
                f"{table.path}:1: there is a column {KEPT!r} already, where the captions would go. Filter the table "
                "that this one was made from, or give --text both"
            )
        self.place = header.index(wanted.column)
        self.own = [k for k, name in enumerate(header) if name not in ADDED or k == self.place]
        self.header = [*(header[k] for k in self.own), *([KEPT] if self.moved else []), *ADDED]

    def caption(self, line: int, cells: list[str]) -> str:
        """The caption of a row. Raises ValueError for one with a NUL in it."""
        if "\0" in cells[self.place]:
            raise ValueError(f"{self.path}:{line}: a NUL byte in the caption: this is no text")
        return plain(cells[self.place])

    def row(self, cells: list[str], found: Split) -> list[str]:
        """The row as it is written."""
        instead = {"both": cells[self.place], "scene": found.scene, "motion": found.motion}[self.wanted.text]
        own = [instead if k == self.place else cells[k] for k in self.own]
        return [*own, *([cells[self.place]] if self.moved else []), found.scene, found.motion, f"{found.dynamic:.4f}"]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path} is not a regular file")  # opening a pipe would wait for ever
        file = path.open("rb")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield file


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """A file that appears under its name when all of it is on disk; nothing is left of one that failed."""
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
