"""What the full-size models cost on this machine: `fullsize`."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.options import AsJson, Device, dump
from bench.errors import UsageError, known

EXAMPLE = (
    "example: python -m bench fullsize 256                              (CPU: one U-Net evaluation; 8 GB, minutes)\n\n"
    "python -m bench fullsize 256 512 1024 --device cuda --precision bf16     (GPU: whole clips of 50 steps)"
)
PRECISIONS = ("float32", "bf16", "fp16")


def fullsize(
    sizes: Annotated[list[str] | None, typer.Argument(metavar="SIZE", help="256, 512, 1024, 512-interp [256]")] = None,
    device: Device = None,
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="WORD", help="on a GPU: float32, bf16, fp16 [bf16]")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="on a GPU: of the sampler [profile: 50]")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", help="on a CPU [all cores]")] = None,
    as_json: AsJson = False,
) -> int:
    """Seconds and memory of the full-size models here, with random weights."""
    from bench.devices import find_devices
    from bench.environment import cpu_cores
    from bench.profile import load_profile

    names = sizes or ["256"]
    profiles = [load_profile(name).name for name in names]
    errors = []
    if device not in (None, "auto", "cpu", "cuda"):
        errors.append(f"--device is '{device}'. {known(device, ('auto', 'cpu', 'cuda'))}")
    if precision is not None and precision not in PRECISIONS:
        errors.append(f"--precision is '{precision}'. {known(precision, PRECISIONS)}")
    errors += [
        f"{option} is {value}; allowed: 1 to {most}"
        for option, value, most in (("--steps", steps, 1000), ("--threads", threads, 1024))
        if value is not None and not 1 <= value <= most
    ]
    if errors:
        raise UsageError(errors)
    place = find_devices(device or "auto")[1][0]
    import torch

    from bench.fullsize import measure

    torch.set_num_threads(threads or cpu_cores())
    costs = []
    for name, profile in zip(names, profiles, strict=True):
        cost = measure(name, place, precision, steps)
        costs.append(cost.to_json())
        if not as_json:
            print(cost.line(), flush=True)
        assert profile == cost.size
    if as_json:
        print(dump(costs))
    return 0


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command(epilog=EXAMPLE)(fullsize)
