"""`python -m tests.faults.tables`: writes the tables of docs/faults.md from what the program says of each input.

A table stands between `<!-- NAME -->` and `<!-- end -->`; rows are (input, verdict, message).
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UsageError
from bench.spec import load_question
from datasets.catalog import open_catalog
from datasets.files import one_line
from datasets.select import ClipRule, select_clips
from tests.faults import hostile, odd_files

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
RULE = ClipRule(frames=8, frame_stride=3, height=32, width=32, start="center", caption="first")
NOBODY = 65534
REAL = {
    "flipped_1k.mp4": "a real clip, 1024 bytes in the middle inverted",
    "grey.mp4": "a real clip as H.264 without colour: it decodes with neutral colour",
    "grey_ffv1.avi": "a real clip as FFV1 without colour, 8 frames",
    "odd_17x31.avi": "a real clip of 17 x 31 pixels, 20 frames",
    "one_frame.mp4": "the first frame of a real clip",
    "text_renamed.avi": "a list of classes",
    "truncated_40pct.avi": "the first 40 % of a real clip",
    "zero_byte.mp4": "no bytes",
}
Row = tuple[str, str, str, str]  # file, what it is, verdict, message
Verdicts = dict[str, tuple[str, str]]


def verdicts(folder: Path) -> Verdicts:
    """File -> (verdict, message), by the way every run takes: reader, decoder, choice of clips."""
    catalog = open_catalog("folder", folder)
    names = {video.id: video.path.name for video in catalog.videos}
    selection, found = select_clips(catalog, RULE), Verdicts()
    for clip in selection:
        found[names[clip.video]] = ("used with a note" if clip.notes else "used as is", "; ".join(clip.notes))
    found |= {names[bad.id]: ("set aside", bad.reason) for bad in selection.set_aside}
    return found


@contextmanager
def a_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        os.chmod(place, 0o755)
        yield Path(place)


def unreadable() -> Verdicts:
    """A file without permissions, as a user sees it who is not root."""
    with a_folder() as folder:
        odd_files.video(folder / "unreadable.mp4", odd_files.noise())
        (folder / "unreadable.mp4").chmod(0)
        return as_nobody(lambda: verdicts(folder))


def as_nobody(ask: Callable[[], Verdicts]) -> Verdicts:
    """Asks in a process that is not root: root may read everything."""
    if os.geteuid() != 0:
        return ask()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setuid(NOBODY)
            os.write(theirs, json.dumps(ask()).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as told:
        found = json.loads(told.read() or b"{}")
    os.waitpid(child, 0)
    return {name: (verdict, message) for name, (verdict, message) in found.items()}


def made_inputs() -> list[Row]:
    """Every odd file that can be made on the spot."""
    with a_folder() as folder:
        told = odd_files.make(folder)
        found = verdicts(folder)
    rows = [(one_line(name), what, *found.get(name, ("passed over", ""))) for name, what in told.items()]
    return [*rows, ("unreadable.mp4", "no permission to read it", *unreadable()["unreadable.mp4"])]


def real_inputs(folder: Path) -> list[Row]:
    """Damaged and odd files made from real clips."""
    found = verdicts(folder)
    return [(name, REAL.get(name, ""), *found[name]) for name in sorted(found)]


def hostile_specs() -> list[Row]:
    """What is said of each hostile spec."""
    rows = []
    with a_folder() as folder:
        path = folder / "question.yaml"
        for name, data in hostile.SPECS.items():
            path.write_bytes(data)
            try:
                load_question(path)
                rows.append((name, _first(data), "read", ""))
            except UsageError as refusal:
                first = refusal.messages[0].replace(str(path), "question.yaml")
                rows.append((name, _first(data), "refused", first))
    return rows


def _first(data: bytes) -> str:
    return f"{len(data)} bytes"


def stable(message: str) -> str:
    """A message without what another version of FFmpeg, or another system, says in its place."""
    return re.sub(r"\([^()]*\)", "(...)", message)


def table(rows: list[Row]) -> str:
    """Markdown; a bar or a back-tick in a name cannot break it."""
    lines = ["| input | what it is | verdict | message |", "|" + "---|" * 4]
    for name, what, verdict, message in rows:
        shown = name if len(name) <= 50 else f"{name[:30]}... ({len(name)} letters)"
        lines.append("| " + " | ".join((_code(shown), what, verdict, _cell(message))) + " |")
    return "\n".join(lines)


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return fence + pad + text.replace("|", "\\|") + pad + fence


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def replace(document: str, name: str, text: str) -> str:
    """The document with another table under this name."""
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(\n<!-- end -->)", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{DOCUMENT}: no table <!-- {name} -->")
    return pattern.sub(lambda found: found[1] + text + found[2], document)


def main() -> int:
    """Writes every table that can be made here."""
    document = DOCUMENT.read_text(encoding="utf-8")
    document = replace(document, "inputs", table(made_inputs()))
    document = replace(document, "specs", table(hostile_specs()))
    if data := os.environ.get("BENCH_TEST_DATA"):
        document = replace(document, "real", table(real_inputs(Path(data) / "bad")))
    DOCUMENT.write_text(document, encoding="utf-8")
    print(DOCUMENT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
