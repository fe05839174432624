"""Which words do several commands share? Options, and how answers are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Specs = Annotated[list[Path], typer.Argument(metavar="SPEC", help="question files, as ablations/dual_stream.yaml")]
ProfileName = Annotated[str, typer.Option("--profile", metavar="NAME", help="name in ablations/profiles or a path")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="run folder [runs/<question>-<profile> or runs/<profile>]"),
]
StoreFolder = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="artifact store, may be shared [runs/store]")
]
Seeds = Annotated[
    str | None, typer.Option("--seeds", metavar="N,N,...", help="training seeds, as 0,1,2 [from the profile]")
]
Samples = Annotated[
    int | None,
    typer.Option("--samples", metavar="N", help="videos per variant and dataset, 2 or more [profile]"),
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=DIR", help="ucf101=DIR, msrvtt=DIR or train=DIR; repeatable"),
]
Weights = Annotated[
    list[str] | None,
    typer.Option("--weights", metavar="ROLE=FILE", help="vae=FILE, t2v=FILE, ... (list weights); repeatable"),
]
Systems = Annotated[
    list[str] | None,
    typer.Option("--system", metavar="NAME=DIR", help="another system: its pipeline or its videos; repeatable"),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="auto|cpu|cuda", help="where networks run [from the profile]")
]
Workers = Annotated[int | None, typer.Option("--workers", metavar="N", help="steps done at once [one per core or GPU]")]
Quiet = Annotated[bool, typer.Option("--quiet", help="only failures and the result")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output on stdout")]


def dump(value: Any) -> str:
    """JSON for another program, as `--json` prints it."""
    return json.dumps(value, indent=1, ensure_ascii=False)
