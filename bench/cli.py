"""The command line: words in, exit code out. Each family of commands is a file of `bench/commands/`."""

from __future__ import annotations

import os
import sys

import typer

from bench.commands import (
    animate,
    captions,
    check,
    compare,
    conditions,
    convert,
    fullsize,
    pretrain,
    run,
    score,
    shards,
    show,
    speed,
    store,
    story,
    study,
)
from bench.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, BenchError, storage_words
from bench.ranks import only_runs

# in the order of --help
FAMILIES = (
    *(run, conditions, score, compare, show, study, check, convert, pretrain),
    *(animate, story, captions, shards, fullsize, speed, store),
)

CommandError: type[Exception] = typer.BadParameter.__mro__[2]  # click's ClickException, wherever typer keeps it

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="DynamiCrafter ablations: train, sample, score and report every variant. "
    "First run: python -m bench run ablations/*.yaml",
)
for family in FAMILIES:
    family.register(app)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    try:
        only_runs(sys.argv[1:] if arguments is None else arguments)
        result = app(args=arguments, prog_name="python -m bench", standalone_mode=False)
        return int(result) if isinstance(result, int) else 0
    except BenchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except CommandError as error:
        error.show()  # type: ignore[attr-defined]
        return EXIT_USAGE
    except BrokenPipeError:  # whoever read the output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains when it flushes at the end
        return EXIT_FAILED
    except OSError as error:
        print(storage_words(error) or error, file=sys.stderr)
        return EXIT_FAILED
    except (typer.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
