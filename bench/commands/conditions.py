"""What leaves the house: `conditions` for another system, and `export` of a run's samples for a reviewer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import ProfileName, Quiet, StoreFolder
from bench.commands.score import common

CONDITIONS_EXAMPLE = (
    "example: python -m bench conditions ucf101 --protocol tiny/v1 --out conditions     (the tiny world's)\n\n"
    "         python -m bench conditions ucf101 --protocol tiny/v1 --data ucf101=UCF-101 --out conditions"
)


def conditions(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="ucf101, msrvtt or folder")],
    protocol: Annotated[str, typer.Option("--protocol", metavar="NAME", help="whose conditions (list protocols)")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="the pictures go to DIR/DATASET/")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="NAME=DIR", help="the data set's videos [the profile's procedural world]"),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", metavar="N", help="videos to make, 2 or more [profile]")
    ] = None,
    original: Annotated[
        bool, typer.Option("--original", help="also the same frames at the source's own size, uncropped")
    ] = False,
    profile: ProfileName = "tiny",
    store: StoreFolder = None,
    quiet: Quiet = False,
) -> int:
    """Condition frames (PNG), prompts and ids that another system must animate, with a hash that score checks."""
    from bench.scoring.hand_out import HandOut, hand_out

    options = HandOut(dataset, protocol, out, common(profile, store, samples, quiet=quiet), tuple(data or ()), original)
    print(hand_out(options))
    return 0


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run whose samples are in the store")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for videos, conditions and manifest.json")],
    variant: Annotated[
        list[str] | None, typer.Option("--variant", metavar="NAME", help="repeatable [every variant]")
    ] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="ffv1|png", help="one .mkv a video, or a folder of pictures")
    ] = "ffv1",
    store: StoreFolder = None,
    quiet: Quiet = False,
) -> int:
    """A run's samples without loss, and a manifest: `score DIR` checks the table, nothing is trained."""
    from bench.scoring.export import ExportOptions
    from bench.scoring.export import export as write

    options = ExportOptions(run, out, store, tuple(variant or ()), format)
    print(write(options, (lambda line: None) if quiet else print))
    return 0


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command(epilog=CONDITIONS_EXAMPLE)(conditions)
    app.command()(export)
