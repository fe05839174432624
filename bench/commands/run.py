"""Answer questions: `run`, and `plan`, which says what a run would do."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import (
    AsJson,
    Data,
    Device,
    Out,
    ProfileName,
    Quiet,
    Samples,
    Seeds,
    Specs,
    StoreFolder,
    Systems,
    Weights,
    Workers,
    dump,
)
from bench.errors import UsageError
from bench.ranks import launched

if TYPE_CHECKING:
    from bench.plan_paper import Asked
    from bench.runner import Options


RUN_EXAMPLE = (
    "example: python -m bench run ablations/dual_stream.yaml --profile smoke     (CPU, a minute)\n\n"
    "Finished steps are kept: to resume, give the same command again."
)

PLAN_EXAMPLE = (
    "example: python -m bench plan ablations/*.yaml --profile 256 --gpu h200 --gpus 64 --ranks 8 --price 3\n\n"
    "Nothing has to be given before: no data, no checkpoint, no GPU."
)


def _options(
    specs: list[Path],
    profile: str,
    out: Path | None,
    store: Path | None,
    seeds: str | None,
    samples: int | None,
    data: list[str] | None,
    weights: list[str] | None,
    system: list[str] | None,
    device: str | None,
    workers: int | None,
    quiet: bool,
    engine: str = "local",
) -> Options:
    from bench.runner import Options

    return Options(
        specs=tuple(specs),
        profile=profile,
        out=out,
        store=store,
        seeds=_seeds(seeds),
        samples=samples,
        data=tuple(data or ()),
        weights=tuple(weights or ()),
        systems=tuple(system or ()),
        device=device,
        workers=workers,
        engine=engine,
        quiet=quiet,
        command=shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
    )


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--seeds is '{text}'; allowed: whole numbers from 0, as in 0,1,2") from None


def run(
    specs: Specs,
    profile: ProfileName = "tiny",
    out: Out = None,
    store: StoreFolder = None,
    seeds: Seeds = None,
    samples: Samples = None,
    data: Data = None,
    weights: Weights = None,
    system: Systems = None,
    device: Device = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="local|ray", help="workers here, or a Ray cluster (RAY_ADDRESS)")
    ] = "local",
    workers: Workers = None,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and exit")] = False,
    as_json: AsJson = False,
) -> int:
    """Answer questions: train, sample, score, report."""
    if launched() is not None:
        from bench.ranks_engine import pin

        pin(profile)  # before anything imports numpy
    from bench import runner
    from bench.engines import check_engine

    check_engine(engine)
    options = _options(
        specs, profile, out, store, seeds, samples, data, weights, system, device, workers, quiet, engine
    )
    if dry_run:
        return _show_plan(options, as_json)
    return runner.run(options, as_json)


def plan(
    specs: Specs,
    profile: ProfileName = "tiny",
    store: StoreFolder = None,
    seeds: Seeds = None,
    samples: Samples = None,
    data: Data = None,
    weights: Weights = None,
    system: Systems = None,
    device: Device = None,
    workers: Workers = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="NAME", help="on paper: a100, h100, h200, ... [from the profile]")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", metavar="N", help="on paper: devices, 1 or more [as here]")
    ] = None,
    ranks: Annotated[
        int | None, typer.Option("--ranks", metavar="N", help="on paper: devices that do one step together [1]")
    ] = None,
    efficiency: Annotated[
        float | None,
        typer.Option("--efficiency", metavar="SHARE", help="on paper: of a GPU's peak rate, 0 to 1 [profile]"),
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", metavar="DOLLARS", help="on paper: of one GPU for an hour [profile]")
    ] = None,
    rates: Annotated[
        Path | None,
        typer.Option("--rates", metavar="RUN", help="on paper: as fast as the steps of this finished run were"),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """What a run would do: steps, what is shared or done already, operations, time, disk and dollars on paper."""
    from bench.plan_paper import Asked

    options = _options(specs, profile, None, store, seeds, samples, data, weights, system, device, workers, False)
    return _show_plan(options, as_json, Asked(gpu, gpus, ranks, efficiency, price, rates))


def _show_plan(options: Options, as_json: bool, asked: Asked | None = None) -> int:
    from bench.plan_table import plan_json, plan_text
    from bench.runner import prepare
    from bench.store import Store

    prepared = prepare(options)
    store = Store(options.store_folder)
    text = dump(plan_json(prepared, store, asked)) if as_json else plan_text(prepared, store, asked)
    print(text)
    return 0


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command(epilog=RUN_EXAMPLE)(run)
    app.command(epilog=PLAN_EXAMPLE)(plan)
