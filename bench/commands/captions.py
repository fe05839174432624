"""What do captions say of motion? `captions` takes a WebVid-style CSV apart and filters it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import AsJson, Quiet, dump
from bench.errors import UsageError

if TYPE_CHECKING:
    from datasets.caption_table import Counts
    from datasets.motion_text import Split

EXAMPLE = (
    "example: python -m bench captions results_train.csv --out motion/train.csv\n\n"
    "         python -m bench captions results_train.csv --out train.csv --text motion --language-model DIR"
)


def captions(
    table: Annotated[Path, typer.Argument(metavar="CSV", help="a WebVid-style table with a caption in each row")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="the filtered CSV, written whole or not at all")],
    min_dynamic: Annotated[
        float, typer.Option("--min-dynamic", metavar="X", help="least dynamic confidence of a row that is kept, 0 to 1")
    ] = 0.5,
    text: Annotated[
        str,
        typer.Option(
            "--text", metavar="scene|motion|both", help="which text stands in the captions' column (both: as it was)"
        ),
    ] = "both",
    column: Annotated[str, typer.Option("--column", metavar="NAME", help="the captions' column")] = "name",
    language_model: Annotated[
        Path | None,
        typer.Option("--language-model", metavar="DIR", help="a local instruction model [none: rules]"),
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="where the model runs")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Take captions apart into words of scene and of motion, and keep the rows that tell of motion.

    Columns scene, motion and dynamic (the confidence, 0 to 1) are added. By rules; with --language-model by a model of
    yours, offline, where it answers as asked. Cells are never changed for a spreadsheet: open the file as text there.
    """
    from datasets.caption_table import EVERY, Wanted, filter_table
    from datasets.motion_text import split

    try:
        wanted = Wanted(min_dynamic, text, column)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not table.is_file():  # before a model is opened
        raise UsageError(f"{table}: there is no such file")
    splitter = split if language_model is None else _splitter(language_model, device)
    every = EVERY if language_model is None else 1
    try:
        counts = filter_table(table, out, wanted, splitter, _Progress(quiet), every)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if as_json:
        told = {"rows": counts.rows, "kept": counts.kept, "empty": counts.empty}
        print(dump({**told, "by": dict(counts.by), "notes": dict(counts.notes), "out": str(out)}))
    elif not quiet:
        print("\n".join(_lines(counts, wanted.least, out)))
    return 0


class _Progress:
    """A line on stderr every ten seconds."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.said = quiet, time.monotonic()

    def __call__(self, rows: int) -> None:
        if not self.quiet and time.monotonic() - self.said > 10:
            self.said = time.monotonic()
            print(f"{rows} captions", file=sys.stderr, flush=True)


def _splitter(folder: Path, device: str) -> Callable[[str], Split]:
    from bench.devices import find_devices
    from bench.language import LanguageModel
    from bench.wording import ModelSplitter

    model = LanguageModel.open(folder, find_devices(device)[1][0])
    return ModelSplitter(model, model.identity["folder"])


def _lines(counts: Counts, least: float, out: Path) -> list[str]:
    lines = [f"{out}: {counts.kept} of {counts.rows} rows, dynamic confidence {least:g} or more"]
    lines += [f"{counts.empty} rows have no caption"] if counts.empty else []
    lines += [f"taken apart by {who}: {count}" for who, count in counts.by.most_common()]
    return lines + [f"rules stood in for the model {count} times: {why}" for why, count in counts.notes.most_common()]


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command(epilog=EXAMPLE)(captions)
