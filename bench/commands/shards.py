"""Make training data for streaming: `shards` turns a CSV and its videos into tar files."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Quiet
from bench.errors import BenchError, UsageError
from bench.locks import Busy, Lock

EXAMPLE = (
    "example: python -m bench shards results_10M_train.csv --videos WebVid --out shards --workers 8\n\n"
    "Finished shards are kept: to resume, give the same command again. Then: run ... --data train=shards"
)


def shards(
    tables: Annotated[list[Path], typer.Argument(metavar="CSV", help="videoid, name (the caption), page_dir")],
    videos: Annotated[Path, typer.Option("--videos", metavar="DIR", help="folder that the CSV's paths are below")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="where the shards go")],
    size: Annotated[int, typer.Option("--size", metavar="N", help="rows of the CSV in a shard")] = 500,
    check: Annotated[
        str, typer.Option("--check", metavar="frames|header", help="decode every video, or open it only")
    ] = "frames",
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="shards made at once")] = 1,
    quiet: Quiet = False,
) -> int:
    """WebDataset tar shards of a CSV and mp4 files, for training from a stream."""
    needs_webdataset("shards")
    from datasets.make_shards import Making, make_shards

    absent = [f"{path}: there is no such file" for path in tables if not path.is_file()]
    absent += [] if videos.is_dir() else [f"--videos {videos}: there is no such folder"]
    absent += [f"--out {out}: it is a file; allowed is a folder"] if out.exists() and not out.is_dir() else []
    if absent:
        raise UsageError(absent)
    try:
        making = Making(tables, videos, out, size, check, workers)
        out.mkdir(parents=True, exist_ok=True)
        lock = Lock(out / ".lock")
        lock.acquire(blocking=False)
    except Busy as held:
        raise BenchError(f"--out {out}: {held} is making shards there. Wait for it, or give another folder") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    try:
        made = make_shards(making, lambda line: None if quiet else print(line, file=sys.stderr, flush=True))
    except ValueError as error:
        raise UsageError(str(error)) from None
    finally:
        lock.release()
    kept = f" ({made.kept} were there)" if made.kept else ""
    counts = f"{made.set_aside} videos set aside, {made.missing} missing"
    print(f"{out}: {made.samples} videos in {len(made.shards)} shards{kept}; {counts}")
    return 0


def needs_webdataset(what: str) -> None:
    """Raises UsageError, with what to install, where the library is not there."""
    if find_spec("webdataset") is None:
        raise UsageError(f"{what}: the package webdataset is not installed. Give: .venv/bin/pip install -e '.[shards]'")


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command(epilog=EXAMPLE)(shards)
