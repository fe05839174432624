"""Make a file of weights ready, once: `convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UsageError


def convert(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[KIND] FILE", help="the file; KIND (dynamicrafter, i3d, lpips, dreamsim) says what it must be"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="the safetensors file to write")],
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="NAME", help="float16, bfloat16 or float32 [as in the file]")
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="LAYOUT", help="official: a run's model.safetensors as the authors' code loads it"
        ),
    ] = "",
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="whose sizes the file has [a released checkpoint's]")
    ] = "",
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", metavar="ROLE=FILE", help="with --to official: vae=FILE, clip=FILE [the profile's]"),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="let a TorchScript file run its code: it could do anything")
    ] = False,
) -> int:
    """Write a checkpoint as safetensors, once: nothing in it is run, and it then opens at once."""
    from bench.convert import FROZEN, Request
    from bench.convert import convert as write
    from bench.sources import assignments

    *kind, file = words
    if len(kind) > 1:
        raise UsageError(f"convert {' '.join(words)}: one file at a time, after at most one word that says its kind")
    if to not in ("", "official"):
        raise UsageError(f"--to is '{to}'. Known: official.")
    request = Request(
        source=Path(file),
        out=out,
        kind=kind[0] if kind else "",
        dtype=dtype,
        profile=profile,
        weights=assignments("--weights", weights or [], FROZEN),
        trust=trust,
        to_official=bool(to),
    )
    write(request, lambda line: print(line, flush=True))
    return 0


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(convert)
