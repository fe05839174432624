"""What do people say? `study make` writes a blind page for raters, `study tally` counts their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.options import AsJson, Quiet, dump
from bench.errors import BenchError, UsageError

study = typer.Typer(no_args_is_help=True, help="Blind human study: a page for raters, and the tally of their answers.")


@study.command("make")
def make_study(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="run folders, of the same inputs")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for study.html and key.json")],
    question: Annotated[
        str | None, typer.Option("--question", metavar="NAME", help="whose variants [the first of each run]")
    ] = None,
    variants: Annotated[
        str | None, typer.Option("--variants", metavar="NAME,...", help="which variants, 2 to 9 systems in all")
    ] = None,
    items: Annotated[int, typer.Option("--items", metavar="N", help="inputs per dataset, 1 or more")] = 3,
    quiet: Quiet = False,
) -> int:
    """Write a self-contained blind page: people compare the videos of a run without knowing which is which.

    Give study.html to the raters and keep key.json: it says what is behind each blind name.
    """
    from bench.study.make import make

    names = [name.strip() for name in variants.split(",") if name.strip()] if variants is not None else None
    made = make(runs, out, question, names, items)
    if not quiet:
        print(
            f"{made.page}: for the raters, {made.screens} screens, about {made.minutes:.0f} minutes "
            f"({made.systems} systems, {made.items} inputs)\n{made.key}: keep it; without it answers cannot be read"
        )
    return 0


@study.command("tally")
def tally_study(
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS", help="files that raters saved, or a folder")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="key.json of the study")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="run folder: study.json goes there, its report is rebuilt"),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Count answers: percentages with intervals and the agreement between raters.

    A file that is damaged, of another study, unfinished or there twice is refused by name, and nothing is counted.
    """
    from bench.study.tally import tally

    if out is not None and not (out / "records.jsonl").is_file():
        raise UsageError(f"{out} is no run folder: it has no records.jsonl")
    found = tally(answers, key)
    if out is not None:
        _keep(found, out)
    if as_json:
        print(dump(found))
    elif not quiet:
        print("\n".join(_lines(found)))
    return 0


def _keep(found: dict[str, Any], run: Path) -> None:
    from reports.files import write_text
    from reports.render import render

    write_text(run / "study.json", dump(found) + "\n")
    try:
        render(run)
    except ValueError as error:
        raise BenchError(f"study.json is written, the report cannot be made: {error}") from None


def _lines(found: dict[str, Any]) -> list[str]:
    """The tally as a table of text."""
    labels = [system["label"] for system in found["systems"]]
    width = max(map(len, labels)) + 2
    lines = []
    for question in found["questions"]:
        lines.append(f"{question['label']} ({question['asked']})")
        for label, share in zip(labels, question["shares"], strict=True):
            ends = "no interval" if share["low"] is None else f"[{share['low']:.1f}, {share['high']:.1f}]"
            counted = f"{share['votes']} of {share['of']}"
            lines.append(f"  {label:<{width}}{share['percent']:5.1f} %  {ends:<15}  {counted}")
        lines.append(f"  {question['agreement']}")
    return [*lines, *found["words"]]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.add_typer(study, name="study")
