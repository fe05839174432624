"""How fast the model is beside the same network written plainly: `speed`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import Device
from bench.errors import UsageError, known

if TYPE_CHECKING:
    from bench.speed import Setting

EXAMPLE = (
    "example: python -m bench speed tiny                       (CPU, seconds)\n\n"
    "python -m bench speed 256 --channels 64 --steps 2         (CPU, minutes: the shapes of 256, a fifth as wide)\n\n"
    "python -m bench speed 256 --device cuda --precision bf16"
)
PRECISIONS = ("float32", "bf16", "fp16")


def speed(
    size: Annotated[str, typer.Argument(metavar="SIZE", help="a profile")] = "tiny",
    device: Device = None,
    precision: Annotated[
        str, typer.Option("--precision", metavar="WORD", help="on a GPU: float32, bf16, fp16")
    ] = "float32",
    clips: Annotated[int, typer.Option("--clips", metavar="N", help="clips at once")] = 1,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", help="of the sampler [profile]")] = None,
    channels: Annotated[int, typer.Option("--channels", metavar="N", help="of the U-Net; 0: all it has")] = 0,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", help="times each way is run")] = 3,
    threads: Annotated[int, typer.Option("--threads", metavar="N", help="on a CPU")] = 1,
    compiled: Annotated[bool, typer.Option("--compile", help="ours as compiled code (torch.compile)")] = False,
    count: Annotated[bool, typer.Option("--count", help="only count operations: nothing is built")] = False,
) -> int:
    """The model beside the same network written plainly: seconds, ratios, operations and floors."""
    from bench.devices import find_devices
    from bench.profile import load_profile, model_preset

    errors = [
        f"{option} is {value}; allowed: {least} to {most}"
        for option, value, least, most in (
            *(("--steps", steps, 1, 1000), ("--threads", threads, 1, 1024), ("--repeats", repeats, 1, 1000)),
            *(("--clips", clips, 1, 1024), ("--channels", channels, 0, 4096)),
        )
        if value is not None and not least <= value <= most
    ]
    if device not in (None, "auto", "cpu", "cuda"):
        errors.append(f"--device is '{device}'. {known(device, ('auto', 'cpu', 'cuda'))}")
    if precision not in PRECISIONS:
        errors.append(f"--precision is '{precision}'. {known(precision, PRECISIONS)}")
    profile = load_profile(size)
    if errors:
        raise UsageError(errors)
    from bench import speed as races

    sampler = profile.sampling.config if steps is None else replace(profile.sampling.config, steps=steps)
    print("\n".join(races.counted(model_preset(profile.model), sampler)), flush=True)
    if count:
        return 0
    place = find_devices(device or "auto")[1][0]
    try:
        given = races.setting(size, place, precision, clips, steps, channels)
    except ValueError as error:  # layers share channels out evenly
        raise UsageError(f"--channels {channels}: no such U-Net of profile {size} ({error})") from None
    if compiled:
        from bench.compiled import compile_denoise

        compile_denoise(given.model.unet)
    _race(given, repeats, threads)
    return 0


def _race(given: Setting, repeats: int, threads: int) -> None:
    import torch

    from bench import speed as races

    torch.set_num_threads(threads)
    clock = races.clock_of(given.device)
    width, config = given.model.config.unet.model_channels, given.model.config
    print(
        f"\n{given.clips} x {config.frames} frames of {config.height}x{config.width}, {width} channels, "
        f"{given.precision} on {given.device}, {threads} thread(s), least of {repeats}\n\n"
        "| what | way | time | times ours | apart |\n|---|---|---|---|---|",
        flush=True,
    )
    for make in races.RACES:
        race = make(given)
        race.run(repeats, clock)
        print("\n".join(race.rows()), flush=True)


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command(epilog=EXAMPLE)(speed)
