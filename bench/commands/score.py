"""Numbers for videos that others made: `score`, and `rescore` of stored samples under other protocols."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import AsJson, Device, ProfileName, Quiet, StoreFolder, Weights, Workers

if TYPE_CHECKING:
    from bench.scoring.setting import Common

SCORE_EXAMPLE = (
    "example: python -m bench conditions ucf101 --protocol tiny/v1 --out conditions       (what to animate)\n\n"
    "         python -m bench score my_videos --inputs conditions --reference ucf101=world\n\n"
    "Lossless files (PNG folders, FFV1 in RGB) are comparable, others are scored and marked. docs/scoring.md"
)
Protocols = Annotated[
    list[str] | None, typer.Option("--protocol", metavar="NAME", help="repeatable (list protocols) [the profile's]")
]
Samples = Annotated[
    int | None, typer.Option("--samples", metavar="N", help="reference videos, 2 or more [conditions, else profile]")
]


def common(
    profile: str = "tiny",
    store: Path | None = None,
    samples: int | None = None,
    weights: list[str] | None = None,
    device: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Common:
    """The options that all scoring commands have."""
    from bench.scoring.setting import Common

    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    return Common(profile, store, samples, tuple(weights or ()), device, workers, quiet, command)


def score(
    videos: Annotated[
        Path, typer.Argument(metavar="VIDEOS", help="folder of videos, of picture folders, or of items; or an export")
    ],
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", metavar="NAME=DIR", help="real videos: ucf101=, msrvtt= or folder=; ucf101=world"),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", metavar="DIR", help="exported conditions, or pictures named as the videos"),
    ] = None,
    captions: Annotated[
        Path | None, typer.Option("--captions", metavar="FILE", help="prompts: .json, .csv, or .txt with one a line")
    ] = None,
    matches: Annotated[
        Path | None, typer.Option("--matches", metavar="CSV", help="columns output,id[,input,prompt]: which is which")
    ] = None,
    protocol: Protocols = None,
    profile: ProfileName = "tiny",
    weights: Weights = None,
    samples: Samples = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="what tables call the system [the folder's name]")
    ] = None,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="take every video, whatever its name, as independent of the reference")
    ] = False,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="beside it: real, another and static clips")
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="where records and report go [runs/score-<name>]")
    ] = None,
    store: StoreFolder = None,
    device: Device = None,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Score any system's videos: FVD, KVD and PIC with protocol, interval and what was done to the files."""
    from bench.scoring.score import ScoreOptions
    from bench.scoring.score import score as make

    options = ScoreOptions(
        videos=videos,
        common=common(profile, store, samples, weights, device, workers, quiet),
        reference=tuple(reference or ()),
        inputs=inputs,
        captions=captions,
        matches=matches,
        protocols=tuple(protocol or ()),
        name=name,
        out=out,
        unpaired=unpaired,
        baselines=baselines,
    )
    return make(options, as_json)


def rescore(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run or score whose clips are in the store")],
    protocol: Annotated[list[str], typer.Option("--protocol", metavar="NAME", help="repeatable (list protocols)")],
    weights: Weights = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="where records and report go [RUN/rescored-<protocols>]")
    ] = None,
    store: StoreFolder = None,
    device: Device = None,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Score stored samples again under other protocols: how far one set of videos moves by dialect alone."""
    from bench.scoring.rescore import RescoreOptions
    from bench.scoring.rescore import rescore as make

    setting = common(store=store, weights=weights, device=device, workers=workers, quiet=quiet)
    return make(RescoreOptions(run, tuple(protocol), setting, out), as_json)


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command(epilog=SCORE_EXAMPLE)(score)
    app.command()(rescore)
