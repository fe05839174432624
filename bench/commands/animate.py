"""One picture and a sentence -> a clip: `animate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Device, ProfileName, StoreFolder
from bench.errors import BenchError, UsageError

EXAMPLE = (
    'example: python -m bench animate boy.png --prompt "a boy walks" --out clip.mp4     (the tiny model comes with '
    "the project)\n\n"
    'python -m bench animate boy.png --prompt "a boy walks" --profile 256 --checkpoint model.ckpt --out clip.mp4'
)


def animate(
    image: Annotated[Path, typer.Argument(help="picture to animate")],
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="what happens")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="clip to write: .mp4, .gif, or a folder of PNGs")],
    end_image: Annotated[
        Path | None, typer.Option("--end-image", metavar="IMAGE", help="last frame, for interpolation")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="end as it begins")] = False,
    profile: ProfileName = "tiny",
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="weights of the whole model")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="of the sampler, 1 to 1000 [from the profile]")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option("--guidance-scale", metavar="S", help="of text and image [from the profile]")
    ] = None,
    frame_stride: Annotated[
        int | None, typer.Option("--frame-stride", metavar="N", help="more: faster; tiny and 256 [3]")
    ] = None,
    fps: Annotated[
        int | None, typer.Option("--fps", metavar="N", help="less: faster; 512 [24], 1024 [10], 512-interp [5]")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option("--spacing", metavar="NAME", help="of the steps, as official_uniform [profile]")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="of the noise, 0 or more")] = 0,
    device: Device = None,
    store: StoreFolder = None,
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
    from bench.animate import Request
    from bench.animate import animate as make

    request = Request(
        image=image,
        prompt=prompt,
        out=out,
        end_image=end_image,
        loop=loop,
        profile=profile,
        checkpoint=checkpoint,
        seed=seed,
        device=device,
        steps=steps,
        guidance_scale=guidance_scale,
        spacing=spacing,
        frame_stride=frame_stride,
        fps=fps,
        store=store,
    )
    try:
        make(request)
    except ValueError as error:
        raise BenchError(str(error)) from None
    print(out)
    return 0


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command(epilog=EXAMPLE)(animate)
