"""One picture and a sentence -> a clip: `animate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Device, ProfileName
from bench.errors import BenchError, UsageError


def animate(
    image: Annotated[Path, typer.Argument(help="picture to animate")],
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="what happens")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="clip to write, .mp4")],
    end_image: Annotated[
        Path | None, typer.Option("--end-image", metavar="IMAGE", help="last frame, for interpolation")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="end as it begins")] = False,
    profile: ProfileName = "tiny",
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="weights of the whole model")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="of the noise, 0 or more")] = 0,
    device: Device = None,
) -> int:
    """One picture and a sentence -> a clip."""
    absent = [
        f"{path}: there is no such file"
        for path in (image, end_image, checkpoint)
        if path is not None and not path.is_file()
    ]
    if absent:
        raise UsageError(absent)
    if loop and end_image is not None:
        raise UsageError("--loop and --end-image exclude each other: a loop ends as it begins")
    from bench.animate import animate as make

    try:
        make(
            image,
            prompt,
            out,
            end_image=end_image,
            loop=loop,
            profile=profile,
            checkpoint=checkpoint,
            seed=seed,
            device=device or "cpu",
        )
    except ValueError as error:
        raise BenchError(str(error)) from None
    print(out)
    return 0


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(animate)
