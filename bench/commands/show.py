"""What is there, and what came out: `list` and `report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import AsJson, Quiet, Systems, dump
from bench.errors import BenchError, UsageError


def list_things(
    what: Annotated[
        str | None, typer.Argument(help="questions, profiles, protocols, datasets, systems or weights")
    ] = None,
    system: Systems = None,
    as_json: AsJson = False,
) -> int:
    """What there is to run, by name."""
    if what == "systems":
        return _systems(system or (), as_json)
    if system:
        raise UsageError(f"--system {system[0]}: it is looked at by `list systems`")
    from bench.listing import listing

    found = listing(what)
    print(dump(found) if as_json else "\n\n".join(_section(name, rows) for name, rows in found.items()))
    return 0


def _systems(given: Sequence[str], as_json: bool) -> int:
    from bench.system_list import entries

    found = entries(given)
    words = "\n".join(["systems", *(entry.text for entry in found)])
    print(dump({"systems": {entry.name: entry.to_json() for entry in found}}) if as_json else words)
    return 0


def _section(name: str, rows: dict[str, str]) -> str:
    width = max((len(key) for key in rows), default=0)
    return "\n".join([name, *(f"  {key:<{width}}  {words}".rstrip() for key, words in rows.items())])


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


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("list")(list_things)
    app.command()(report)
