"""The command line: words in, exit code out. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import EXIT_INTERRUPTED, EXIT_USAGE, BenchError, UsageError

if TYPE_CHECKING:
    from bench.runner import Options

CommandError: type[Exception] = typer.BadParameter.__mro__[2]  # click's ClickException, wherever typer keeps it

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="DynamiCrafter ablations: train, sample, score and report every variant. "
    "First run: python -m bench run ablations/*.yaml",
)
store_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Explain and clean the artifact store.")
check_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at data or weights before a run.")
app.add_typer(store_app, name="store")
app.add_typer(check_app, name="check")

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
Device = Annotated[
    str | None, typer.Option("--device", metavar="auto|cpu|cuda", help="where networks run [from the profile]")
]
Workers = Annotated[int | None, typer.Option("--workers", metavar="N", help="steps done at once [one per core or GPU]")]
Quiet = Annotated[bool, typer.Option("--quiet", help="only failures and the result")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output on stdout")]


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    try:
        result = app(args=arguments, prog_name="python -m bench", standalone_mode=False)
        return int(result) if isinstance(result, int) else 0
    except BenchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except CommandError as error:
        error.show()  # type: ignore[attr-defined]
        return EXIT_USAGE
    except (typer.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED


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


@app.command(
    epilog="example: python -m bench run ablations/dual_stream.yaml --profile smoke     (CPU, a minute)\n\n"
    "Finished steps are kept: to resume, give the same command again."
)
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


@app.command()
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
    text = _dump(plan_json(prepared, store)) if as_json else plan_text(prepared, store)
    print(text)
    return 0


@app.command("list")
def list_things(
    what: Annotated[
        str | None, typer.Argument(help="questions, profiles, protocols, datasets, systems or weights")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """What there is to run, by name."""
    from bench.listing import listing

    found = listing(what)
    print(_dump(found) if as_json else "\n\n".join(_section(name, rows) for name, rows in found.items()))
    return 0


def _section(name: str, rows: dict[str, str]) -> str:
    width = max((len(key) for key in rows), default=0)
    return "\n".join([name, *(f"  {key:<{width}}  {words}".rstrip() for key, words in rows.items())])


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="run folders")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="one report of all runs, a chapter each [one per run]")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Rebuild report.html and report.md from the records of a run folder."""
    from reports.render import render

    absent = [
        f"{run} is no run folder: it has no records.jsonl" for run in runs if not (run / "records.jsonl").is_file()
    ]
    if absent:
        raise UsageError(absent)
    try:
        made = [render(runs, out)] if out else [render(folder) for folder in runs]
    except ValueError as error:
        raise BenchError(f"the report cannot be made: {error}") from None
    if not quiet:
        print("\n".join(str(one.html) for one in made))
    return 0


@app.command()
def verify(
    golden: Annotated[Path, typer.Argument(help="folder of reference numbers")] = Path("tests/golden"),
    quiet: Quiet = False,
) -> int:
    """Numerical parity with reference numbers: a line per case, `ok` or `FAIL`."""
    if not golden.is_dir():
        raise UsageError(f"{golden}: there is no such folder")
    from bench.verify import verify as compare

    def say(line: str) -> None:
        if not quiet or line.startswith("FAIL"):
            print(line, flush=True)

    passed, failed = compare(golden, say)
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


@app.command()
def pretrain(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="which weights [all]")] = None,
) -> int:
    """Train the tiny priors again, as shipped."""
    from bench.pretrain import pretrain as train

    try:
        train(tuple(names or ()))
    except ValueError as error:
        raise UsageError(str(error)) from None
    return 0


@app.command()
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


@store_app.command("check")
def store_check(store: StoreFolder = None, as_json: AsJson = False) -> int:
    """Re-hash every artifact: a line per damaged one; exit 1 if there is any."""
    from bench.runner import RUNS
    from bench.store import Store

    whole, problems = Store(store or RUNS / "store").check()
    if as_json:
        print(_dump({"whole": whole, "damaged": [vars(p) for p in problems]}))
    else:
        for problem in problems:
            print(f"DAMAGED {problem.kind}/{problem.fingerprint}: {problem.words}")
        print(f"{whole} artifacts whole, {len(problems)} damaged")
        if problems:
            print("`python -m bench store gc` removes damaged artifacts; the next run makes them again")
    return 1 if problems else 0


@store_app.command("gc")
def store_gc(
    store: StoreFolder = None,
    keep: Annotated[
        list[Path] | None,
        typer.Option("--keep", metavar="RUN", help="run folder whose artifacts stay; repeatable [all runs in runs/]"),
    ] = None,
    unused: Annotated[bool, typer.Option("--unused", help="also remove what no kept run uses")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go")] = False,
) -> int:
    """Remove damaged artifacts and leftovers of killed runs; with --unused also what no run refers to."""
    from bench.housekeeping import collect
    from bench.runner import RUNS
    from bench.store import Store

    runs = list(keep) if keep else sorted(path.parent for path in RUNS.glob("*/plan.json"))
    for line in collect(Store(store or RUNS / "store"), runs, unused=unused, dry_run=dry_run):
        print(line)
    return 0


@check_app.command("data")
def check_data(
    sources: Annotated[list[str], typer.Argument(metavar="NAME=DIR", help="ucf101=, msrvtt=, webvid= or folder=")],
) -> int:
    """A line per missing, odd or damaged file, by its name; exit 1 if there is any."""
    from bench.checks import check_data as look

    return look(sources, print)


@check_app.command("weights")
def check_weights(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="safetensors files or official checkpoints")],
) -> int:
    """What a file of weights holds and whether it is whole; exit 1 if it is not."""
    from bench.checks import check_weights as look

    return look(files, print)


def _dump(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)
