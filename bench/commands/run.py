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
    Weights,
    Workers,
    dump,
)
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.runner import Options


RUN_EXAMPLE = (
    "example: python -m bench run ablations/dual_stream.yaml --profile smoke     (CPU, a minute)\n\n"
    "Finished steps are kept: to resume, give the same command again."
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
    device: str | None,
    workers: int | None,
    quiet: bool,
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
        device=device,
        workers=workers,
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
    device: Device = None,
    engine: Annotated[str, typer.Option("--engine", metavar="NAME", help="local")] = "local",
    workers: Workers = None,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and exit")] = False,
    as_json: AsJson = False,
) -> int:
    """Answer questions: train, sample, score, report."""
    from bench import runner

    if engine != "local":
        raise UsageError(f"--engine is '{engine}'. Known: local.")
    options = _options(specs, profile, out, store, seeds, samples, data, weights, device, workers, quiet)
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
    device: Device = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> int:
    """What a run would do: steps, what is shared or done already, rough time and disk."""
    return _show_plan(
        _options(specs, profile, None, store, seeds, samples, data, weights, device, workers, False), as_json
    )


def _show_plan(options: Options, as_json: bool) -> int:
    from bench.plan_table import plan_json, plan_text
    from bench.runner import prepare
    from bench.store import Store

    prepared = prepare(options)
    store = Store(options.store_folder)
    text = dump(plan_json(prepared, store)) if as_json else plan_text(prepared, store)
    print(text)
    return 0


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command(epilog=RUN_EXAMPLE)(run)
    app.command()(plan)
