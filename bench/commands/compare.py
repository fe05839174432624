"""Two results side by side: `compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.options import AsJson, StoreFolder, dump

COMPARE_EXAMPLE = (
    "example: python -m bench compare runs/tiny:full runs/tiny:no_ctx\n\n"
    "         python -m bench compare runs/tiny:full runs/score-my_system\n\n"
    "Both must have been scored by the same protocol against the same real clips; else what differs is named (exit 2)."
)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="RUN, RUN:VARIANT or RUN:QUESTION.VARIANT; a score is a run")],
    b: Annotated[str, typer.Argument(metavar="B", help="the same, of the other")],
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", metavar="NAME", help="repeatable [all that both have]")
    ] = None,
    store: StoreFolder = None,
    as_json: AsJson = False,
) -> int:
    """Two runs or scores: difference, interval and p-value per data set and metric, Holm-corrected."""
    from bench.scoring.compare import compare as work_out
    from bench.scoring.compare import table, to_json

    found = work_out(a, b, store, tuple(protocol or ()))
    print(dump(to_json(found)) if as_json else table(found))
    return 0


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command(epilog=COMPARE_EXAMPLE)(compare)
