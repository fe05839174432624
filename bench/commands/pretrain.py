"""Train the tiny priors again: `pretrain`."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.errors import UsageError


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


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(pretrain)
