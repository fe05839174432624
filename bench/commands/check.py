"""Is it right? `verify` against reference numbers; `check` of data and weights before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Quiet
from bench.errors import UsageError


def verify(
    golden: Annotated[Path, typer.Argument(help="folder of reference numbers")] = Path("tests/golden"),
    quiet: Quiet = False,
) -> int:
    """Numerical parity with reference numbers: a line per case, `ok` or `FAIL`."""
    if not golden.is_dir():
        raise UsageError(f"{golden}: there is no such folder")
    from bench.verify import verify as compare

    def say(line: str) -> None:
        if not quiet or line.startswith("FAIL"):
            print(line, flush=True)

    passed, failed = compare(golden, say)
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


def check_data(
    sources: Annotated[
        list[str], typer.Argument(metavar="NAME=DIR", help="ucf101=, msrvtt=, webvid=, folder= or shards=")
    ],
) -> int:
    """A line per missing, odd or damaged file, by its name; exit 1 if there is any."""
    from bench.checks import check_data as look

    return look(sources, print)


def check_weights(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="safetensors files or official checkpoints")],
) -> int:
    """What a file of weights holds and whether it is whole; exit 1 if it is not."""
    from bench.checks import check_weights as look

    return look(files, print)


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(verify)
    family = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at data or weights before a run.")
    family.command("data")(check_data)
    family.command("weights")(check_weights)
    app.add_typer(family, name="check")
