"""Who does a step? One lock, held by one process, on a local disk and on a network file system.

Two layers, both needed to hold the lock:
    <name>.lock    locked by the kernel (flock): gone the moment its holder dies. Some network file systems have no
                   such lock, or keep it to one machine
    <name>.owner   made under this name in one atomic step (a hard link), telling machine, process and a token; its
                   holder touches it every BEAT seconds
An owner of this machine whose process is gone is stale, and so is one of another machine whose file has not been
touched for PATIENCE seconds of *our* clock: clocks of two machines are never compared, so one that is wrong or set
back breaks nothing. A stale owner is renamed away before it is removed: of two that break it one wins. Should a
machine that was only suspended come back, two do the same step; the store keeps the first result.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

try:
    import fcntl
except ImportError:  # no such locks on this system: the owner file is all there is
    fcntl = None  # type: ignore[assignment]

BEAT = 10.0  # seconds between two touches of a held lock
PATIENCE = 120.0  # seconds without a touch after which an owner on another machine counts as gone
RETRY = 0.2  # seconds between two tries of a blocking acquire
TAKEN = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}

_seen: dict[str, tuple[object, float]] = {}  # owner file -> what it looked like, and since when (monotonic seconds)


class Busy(Exception):
    """Another process holds the lock."""


@dataclass(frozen=True)
class Owner:
    """A process that holds, or held, a lock. `place` is the same for processes that can see each other."""

    place: str
    host: str
    pid: int
    started: str  # the process's start as the kernel counts it: a pid is used again
    token: str

    @staticmethod
    def here() -> Owner:
        """This process, with a token of its own."""
        return Owner(place(), socket.gethostname(), os.getpid(), _started(os.getpid()), secrets.token_hex(8))

    @property
    def gone(self) -> bool:
        """Whether it is a process of this machine that has ended."""
        return self.place == place() and _started(self.pid) != self.started


def place() -> str:
    """This boot of this machine and this process table; two containers of one machine differ."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return socket.gethostname()


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" when there is none."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:  # not Linux: it is there or not
        os.kill(pid, 0)
    except OSError:
        return ""
    return "alive"


class Lock:
    """One lock, by the path of its file; `acquire`, or use it in a `with`."""

    def __init__(self, path: Path) -> None:
        self.path, self.owner_path = path, path.with_suffix(".owner")
        self._file: int | None = None  # open and locked by the kernel
        self._mine: Owner | None = None
        self._stop = threading.Event()

    def acquire(self, blocking: bool = True) -> None:
        """Takes the lock. Raises Busy when another has it and `blocking` is False, OSError when the folder cannot be
        written.
        """
        while not self._try():
            if not blocking:
                raise Busy(self.holder())
            time.sleep(RETRY)

    def release(self) -> None:
        """Gives the lock back; harmless when it is not held."""
        mine, self._mine = self._mine, None
        self._stop.set()
        if mine is not None:
            found = read_owner(self.owner_path)
            if found is not None and found.token == mine.token:  # else it was taken from us
                self.owner_path.unlink(missing_ok=True)
        self._let_go()

    def holder(self) -> str:
        """Who has the lock, in words."""
        owner = read_owner(self.owner_path)
        return f"process {owner.pid} on {owner.host}" if owner else "another process"

    def _try(self) -> bool:
        owned = False
        try:
            owned = self._lock_file() and self._own()
        finally:
            if not owned:
                self._let_go()
        return owned

    def _lock_file(self) -> bool:
        """The kernel's lock; True as well where there is no such thing."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in TAKEN:
                return False
            if error.errno not in NO_LOCKS:
                raise
        return True

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)  # which unlocks it

    def _own(self) -> bool:
        """Makes the owner file ours, breaking a stale one; False when another holds it."""
        me = Owner.here()
        if not _create(self.owner_path, me) and not (_break_stale(self.owner_path) and _create(self.owner_path, me)):
            return False
        self._mine, self._stop = me, threading.Event()
        threading.Thread(target=_beat, args=(self.owner_path, me.token, self._stop), daemon=True).start()
        return True

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def read_owner(path: Path) -> Owner | None:
    """Who an owner file names; None when it is gone or cannot be understood."""
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Owner(**told)
    except (OSError, ValueError, TypeError):
        return None


def _create(path: Path, owner: Owner) -> bool:
    """Makes the file with its content in one step; False when it exists."""
    text = json.dumps(vars(owner))
    temporary = path.with_name(f"{path.name}.{owner.token}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create_exclusive(path, text)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _create_exclusive(path: Path, text: str) -> bool:
    """For a file system without hard links."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _break_stale(path: Path) -> bool:
    """Removes the owner file if its owner is gone; False when it is held, or another was quicker."""
    before = read_owner(path)
    if not (before.gone if before else False) and not _untouched(path, before):
        return False
    aside = path.with_name(f"{path.name}.stale.{secrets.token_hex(8)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    if read_owner(aside) == before:
        aside.unlink(missing_ok=True)
        return True
    with contextlib.suppress(OSError):  # a new owner came in between: it gets its file back
        os.link(aside, path)
    aside.unlink(missing_ok=True)
    return False


def _untouched(path: Path, owner: Owner | None) -> bool:
    """Whether the file has looked the same for PATIENCE seconds of this process's own clock."""
    try:
        looks = (owner, path.stat().st_mtime_ns)
    except OSError:
        return False
    now = time.monotonic()
    before, since = _seen.get(str(path), (None, now))
    if before != looks:
        _seen[str(path)] = (looks, now)
        return False
    return now - since >= PATIENCE


def _beat(path: Path, token: str, stop: threading.Event) -> None:
    """Touches the owner file for as long as it is ours."""
    while not stop.wait(BEAT):
        owner = read_owner(path)
        if owner is None or owner.token != token:
            return
        with contextlib.suppress(OSError):
            os.utime(path)
