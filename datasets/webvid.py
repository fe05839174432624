"""WebVid-style training data: which rows of its CSV files have a video on disk?

Layout: `*.csv` with the columns videoid, name (the caption), page_dir, and usually contentUrl and duration;
videos at `videos/<page_dir>/<videoid>.mp4`. Source: Bain et al., ICCV 2021, `results_2M_train.csv`. A row
with an empty contentUrl is kept: the address is not needed to read the file.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets.clip import Catalog, Video
from datasets.files import folder, one_line, parse_csv, read_text, under_root

NEEDED = ("videoid", "name", "page_dir")
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")


def read(root: Path, split: str | None = None) -> Catalog:
    """Rows of every CSV in the root or, with a split, of those whose file name holds it (`train`, `val`).

    Raises ValueError when no CSV has WebVid's columns, when a path would leave the root, or when one id is
    listed for two folders.
    """
    tables = _tables(folder(root))
    chosen = {
        path: rows for path, rows in tables.items() if split is None or split.lower() in path.name.lower()
    }
    notes = []
    if not chosen:
        notes.append(f"no CSV file is named after split {split!r}: all rows are taken")
        chosen, split = tables, None
    videos: dict[str, Video] = {}
    missing: list[str] = []
    repeated = 0
    for path, rows in chosen.items():
        for line, row in rows:
            video = _video(root, path, line, row, split)
            repeated += _repeats(videos.get(video.id), video, f"{path}:{line}")
            videos[video.id] = video
    here = {name: video for name, video in videos.items() if video.path.is_file()}
    missing = [str(video.path.relative_to(root)) for name, video in videos.items() if name not in here]
    if repeated:
        notes.append(f"{repeated} rows repeat a video of another CSV file: taken once")
    if missing:
        notes.append(
            f"{len(missing)} of the {len(videos)} videos listed are absent, the first: {one_line(missing[0])}"
        )
    return Catalog("webvid", root, tuple(here[name] for name in sorted(here)), tuple(notes), tuple(missing))


def _tables(root: Path) -> dict[Path, list[tuple[int, dict[str, str]]]]:
    tables, seen = {}, []
    for path in sorted(root.glob("*.csv")):
        header, rows = parse_csv(read_text(path), str(path))
        seen.append(f"{path.name} ({', '.join(header)})")
        if set(NEEDED) <= set(header):
            tables[path] = [(line, _row(header, cells, f"{path}:{line}")) for line, cells in rows]
    if not tables:
        raise ValueError(f"{root}: no CSV file with the columns {', '.join(NEEDED)}; found: {seen or 'none'}")
    return tables


def _row(header: list[str], cells: list[str], where: str) -> dict[str, str]:
    if len(cells) != len(header):
        raise ValueError(f"{where}: {len(cells)} cells, the header has {len(header)}")
    return dict(zip(header, cells, strict=True))


def _video(root: Path, path: Path, line: int, row: dict[str, str], split: str | None) -> Video:
    name, where = row["videoid"].strip(), f"{path}:{line}"
    file = _file(
        root, row["page_dir"].strip(), under_root(root, f"{name}.mp4", f"{where}: videoid").name, where
    )
    if not name or file.stem != name:
        raise ValueError(f"{where}: videoid is {name!r}; a file name without folders was expected")
    meta = {key: value for key, value in row.items() if key not in ("videoid", "name")}
    length = seconds(row.get("duration", ""))
    if length is not None:
        meta["seconds"] = f"{length:g}"
    return Video(name, file, (row["name"].strip(),), None, None, split, meta)


def _file(root: Path, page: str, name: str, where: str) -> Path:
    """`videos/<page_dir>/<name>`, or without `videos/` or without both where the file lies there instead."""
    relative = f"{page}/{name}" if page else name
    below = under_root(root, relative, f"{where}: page_dir")
    usual = under_root(root, f"videos/{relative}", where)
    return next(
        (path for path in (usual, below, root / "videos" / name, root / name) if path.is_file()), usual
    )


def _repeats(before: Video | None, video: Video, where: str) -> bool:
    if before is None:
        return False
    if before.path != video.path or before.captions != video.captions:
        raise ValueError(f"{where}: videoid {video.id!r} is listed before with another folder or caption")
    return True


def seconds(duration: str) -> float | None:
    """`PT00H01M10S` -> 70.0; None for anything else."""
    match = _DURATION.fullmatch(duration.strip())
    if not match or not any(match.groups()):
        return None
    h, m, s = (float(part or 0) for part in match.groups())
    return 3600 * h + 60 * m + s


def stream_videos(tables: Sequence[Path], videos: Path) -> Iterator[Video]:
    """The rows of CSV files one by one, in their order, whether or not the file is there: for ten million of them.

    What is kept of a row is a hash of its id (some 100 bytes in memory), so that one that comes again is taken once.
    Paths are below `videos`. Raises ValueError as `read` does.
    """
    seen: set[bytes] = set()
    for path in tables:
        for line, row in _stream_rows(path):
            video = _video(videos, path, line, row, None)
            mark = hashlib.blake2b(video.id.encode("utf-8", "backslashreplace"), digest_size=8).digest()
            if mark not in seen:
                seen.add(mark)
                yield video


def _stream_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of one CSV file, read as it goes."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = ";" if "," not in first and ";" in first else ","
            header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
            if not set(NEEDED) <= set(header):
                raise ValueError(f"{path}: its columns are {header}; {', '.join(NEEDED)} were expected")
            reader = csv.reader(file, delimiter=delimiter)
            for cells in reader:
                if cells:
                    line = reader.line_num + 1
                    yield line, _row(header, cells, f"{path}:{line}")
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
