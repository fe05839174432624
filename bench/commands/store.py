"""Explain and clean the artifact store: `store check` and `store gc`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import AsJson, StoreFolder, dump


def store_check(store: StoreFolder = None, as_json: AsJson = False) -> int:
    """What the store holds, and for which runs; re-hash every artifact: a line per damaged one, then exit 1."""
    from bench.housekeeping import describe
    from bench.runner import RUNS
    from bench.store import Store

    found = Store(store or RUNS / "store")
    if not as_json:
        for line in describe(found):
            print(line)
    whole, problems = found.check()
    if as_json:
        print(dump({"whole": whole, "damaged": [vars(p) for p in problems]}))
    else:
        for problem in problems:
            print(f"DAMAGED {problem.kind}/{problem.fingerprint}: {problem.words}")
        print(f"{whole} artifacts whole, {len(problems)} damaged")
        if problems:
            print("`python -m bench store gc` removes damaged artifacts; the next run makes them again")
    return 1 if problems else 0


def store_gc(
    store: StoreFolder = None,
    keep: Annotated[
        list[Path] | None,
        typer.Option(
            "--keep", metavar="RUN", help="run folder whose artifacts stay, beside those of known runs [all in runs/]"
        ),
    ] = None,
    unused: Annotated[bool, typer.Option("--unused", help="also remove what no run uses")] = False,
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


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    family = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Explain and clean the artifact store.")
    family.command("check")(store_check)
    family.command("gc")(store_gc)
    app.add_typer(family, name="store")
