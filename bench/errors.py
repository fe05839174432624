"""What can go wrong for a user, how it is said, and with which exit code.

Exit codes: 0 done, 1 a step or check failed, 2 the command, spec or profile is wrong, 130 interrupted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class BenchError(Exception):
    """An error that is shown to the user as text, without a traceback."""

    exit_code = EXIT_FAILED


class UsageError(BenchError):
    """The command, a spec or a profile is wrong; every message found, one per line."""

    exit_code = EXIT_USAGE

    def __init__(self, messages: str | Sequence[str]) -> None:
        self.messages = [messages] if isinstance(messages, str) else list(messages)
        super().__init__("\n".join(self.messages))


class StoreError(BenchError):
    """An artifact is damaged or cannot be written."""


class Interrupted(BenchError):
    """The run was stopped by Ctrl-C or SIGTERM; it can be resumed by the same command."""

    exit_code = EXIT_INTERRUPTED


def known(what: object, allowed: Iterable[str]) -> str:
    """ "Known: a, b. Did you mean 'b'?": the end of every message about a name that does not exist."""
    names = [str(name) for name in allowed]
    listed = names if len(names) <= 30 else [*names[:30], f"... ({len(names)} in all)"]
    text = f"Known: {', '.join(listed) or 'none'}."
    near = difflib.get_close_matches(str(what), names, n=1, cutoff=0.55)
    return f"{text} Did you mean '{near[0]}'?" if near else text
