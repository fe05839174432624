"""What can go wrong for a user, how it is said, and with which exit code.

Exit codes: 0 done, 1 a step or check failed, 2 the command, spec or profile is wrong, 130 interrupted.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
MAX_SHOWN = 60  # characters of a name or value from outside that a message repeats


class BenchError(Exception):
    """An error that is shown to the user as text, without a traceback."""

    exit_code = EXIT_FAILED


CAUSES = {  # what the system says -> what it means for a run
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "it can only be read: mount it writable, or name another folder",
    errno.EACCES: "it may not be written or read: change its permissions, or name another folder",
    errno.EPERM: "it may not be changed: change its permissions, or name another folder",
    errno.EIO: "the disk does not answer as it should: look at the system's log",
    errno.ESTALE: "the network file system lost it: mount it again",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
}


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


def one_line(text: str) -> str:
    """Text from outside as one line that a terminal shows and does not obey: what is not printable is written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut(name: object) -> str:
    """A name from outside as a message repeats it: one line, cut."""
    text = one_line(str(name)[: 2 * MAX_SHOWN])
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def known(what: object, allowed: Iterable[str]) -> str:
    """ "Known: a, b. Did you mean 'b'?": the end of every message about a name that does not exist."""
    names = [cut(name) for name in allowed]
    listed = names if len(names) <= 30 else [*names[:30], f"... ({len(names)} in all)"]
    text = f"Known: {', '.join(listed) or 'none'}."
    near = difflib.get_close_matches(str(what), names, n=1, cutoff=0.55)
    return f"{text} Did you mean '{near[0]}'?" if near else text


def storage_words(error: BaseException) -> str | None:
    """What to say of an error of a disk or file system: where, what it means, what to do; None for other errors."""
    number, where = getattr(error, "errno", None), getattr(error, "filename", None)
    if number is None and (told := re.search(r"\(os error (\d+)\)", str(error))):  # as safetensors says it
        number = int(told[1])
    if number not in CAUSES:
        return None
    place = f"{where}: " if where else ""
    return f"{place}{os.strerror(number)}: {CAUSES[number]}. Everything finished is kept: give the same command again"
