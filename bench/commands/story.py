"""A script of shots -> one captioned film: `story`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Device, ProfileName, StoreFolder
from bench.errors import BenchError, UsageError

EXAMPLE = "example: python -m bench story examples/story/script.yaml --out story.mp4     (the tiny model, no download)"


def story(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="YAML: shots with image, text and seconds")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder, or FILE.mp4: .srt, .vtt, .json beside it")],
    profile: ProfileName = "tiny",
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="weights of the whole model")
    ] = None,
    language_model: Annotated[
        Path | None, typer.Option("--language-model", metavar="DIR", help="writes shots from a premise (transformers)")
    ] = None,
    image_model: Annotated[
        Path | None, typer.Option("--image-model", metavar="DIR", help="draws images from text (diffusers) [tiny: own]")
    ] = None,
    font: Annotated[Path | None, typer.Option("--font", metavar="FILE", help="letters of the captions")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="of the sampler, 1 to 1000 [from the profile]")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option("--guidance-scale", metavar="S", help="of text and image [from the profile]")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="of pictures and noise, 0 or more")] = 0,
    device: Device = None,
    store: StoreFolder = None,
) -> int:
    """A script of shots -> one film with captions. Finished shots are kept: the same command goes on."""
    files = [path for path in (script, checkpoint, font) if path is not None and not path.is_file()]
    if files:
        raise UsageError([f"{path}: there is no such file" for path in files])
    from bench.story.tell import Telling, tell

    telling = Telling(
        script=script,
        out=out,
        profile=profile,
        checkpoint=checkpoint,
        seed=seed,
        steps=steps,
        guidance_scale=guidance_scale,
        device=device,
        store=store,
        language_model=language_model,
        image_model=image_model,
        font=font,
    )
    try:
        tell(telling)
    except ValueError as error:
        raise BenchError(str(error)) from None
    print(out)
    return 0


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command(epilog=EXAMPLE)(story)
