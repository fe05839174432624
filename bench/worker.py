"""What a worker process does: waits for a step, does it under its lock, writes the artifact, says how it
went.

Messages to the engine, over one pipe: ("progress", done, total, note), then one of
("done", costs) · ("reused",) · ("busy", holder) another run holds the lock · ("failed", error, traceback) ·
("damaged", {fingerprint: words}) inputs that are not what was written: they have to be made again first.
"""

from __future__ import annotations

import importlib
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.errors import StoreError, storage_words
from bench.fingerprint import sha256_file
from bench.locks import Busy
from bench.ranks import ALONE, Ranks
from bench.store import Store
from bench.work import Progress, Work

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
HEX = re.compile(r"[0-9a-f]{64}")
PROGRESS_EVERY = 0.2  # seconds between two messages of one step


@dataclass(frozen=True)
class Task:
    """A step as it crosses to a worker: names and paths only."""

    kind: str
    module: str
    version: int
    label: str
    fingerprint: str
    config: Mapping[str, Any]
    local: Mapping[str, Any]
    input_digests: Mapping[str, str]
    inputs: Mapping[str, str]  # role -> path
    artifacts: Mapping[str, str] = field(default_factory=dict)  # role -> kind, of inputs that are artifacts
    suspect: bool = False  # the artifact is there but was found damaged: look at its content before it is reused


def serve(pipe: Connection, store: str, device: str, threads: int) -> None:
    """The life of a worker: one task after another until None comes or the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the engine decides
    die_with_parent()
    os.environ.update({name: str(threads) for name in THREAD_VARIABLES})
    shelf = Store(Path(store), make=False)
    while True:
        try:
            task = pipe.recv()
            if task is None:
                return
            pipe.send(attempt(task, shelf, device, threads, _Reporter(pipe)))
        except (EOFError, BrokenPipeError, ConnectionResetError):  # nobody is listening any more
            return


def attempt(
    task: Task, store: Store, device: str, threads: int, report: Progress, ranks: Ranks = ALONE
) -> tuple[Any, ...]:
    """Does a step unless another holds it, has done it, or an input is damaged; whatever goes wrong is an answer."""
    try:
        lock = store.lock(task.fingerprint)
        lock.acquire(blocking=False)
    except Busy as busy:
        return ("busy", str(busy))
    except Exception as error:
        return _failed(error)
    try:
        if _is_done(task, store):
            return ("reused",)
        damaged = _damaged(task, store)
        if damaged:
            return ("damaged", damaged)
        _check_files(task)
        return ("done", perform(task, store, device, threads, report, ranks))
    except Exception as error:  # whatever a body raises is a failed step, never a dead engine
        return _failed(error)
    finally:
        lock.release()


def _failed(error: Exception) -> tuple[Any, ...]:
    words = str(error) if isinstance(error, StoreError) else storage_words(error)
    return ("failed", words or f"{type(error).__name__}: {error}", traceback.format_exc())


def _is_done(task: Task, store: Store) -> bool:
    """Whether the artifact is there; a suspect one is read in full, and goes when it is not what was written."""
    if not store.has(task.kind, task.fingerprint):
        return False
    if not task.suspect:
        return True
    if store.damage(task.kind, task.fingerprint) is None:
        return True
    store.remove(task.kind, task.fingerprint)
    return False


def _damaged(task: Task, store: Store) -> dict[str, str]:
    """Inputs whose content is not what was written, by fingerprint: every file is read once by each worker."""
    inputs = {task.input_digests[role]: kind for role, kind in task.artifacts.items()}
    found = {fingerprint: store.damage(kind, fingerprint) for fingerprint, kind in inputs.items()}
    return {fingerprint: words for fingerprint, words in found.items() if words is not None}


_hashed: dict[tuple[str, int, int], str] = {}  # files of weights that this worker has read: path, size, time -> sha256


def _check_files(task: Task) -> None:
    """Files given from outside are what the plan was made for. Raises StoreError when one is not."""
    for role, path in task.inputs.items():
        wanted = task.input_digests.get(role, "")
        if role in task.artifacts or not HEX.fullmatch(wanted) or not os.path.isfile(path):
            continue
        stat = os.stat(path)
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in _hashed:
            _hashed[key] = sha256_file(Path(path))
        if _hashed[key] != wanted:
            raise StoreError(f"{path} ({role}) changed after the plan was made: give the same command again")


def perform(
    task: Task, store: Store, device: str, threads: int, report: Progress, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Does one step (the lock is held) and commits its artifact; `ranks` do it together. Returns what it cost."""
    out, scratch = store.begin(task.fingerprint), store.scratch(task.fingerprint)
    scratch.mkdir(parents=True, exist_ok=True)
    meter = Meter()
    ranks.begin(task.fingerprint)
    try:
        body = importlib.import_module(task.module)
        pin_threads(threads)
        work = Work(
            config={**task.config, **task.local},
            inputs={role: Path(path) for role, path in task.inputs.items()},
            out=out,
            scratch=scratch,
            device=device,
            report=report,
            ranks=ranks,
        )
        body.run(work)
        costs = ranks.end(meter.read())
        about = {
            "version": task.version,
            "label": task.label,
            "config": task.config,
            "inputs": task.input_digests,
        }
        store.commit(task.kind, task.fingerprint, out, about, costs)
    except BaseException as error:
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, Exception):  # who was asked to stop leaves without a word
            ranks.fail(error)
        raise
    return costs


class _Reporter:
    """Sends progress, at most one message per `PROGRESS_EVERY` seconds."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._last = pipe, 0.0

    def __call__(self, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if now - self._last >= PROGRESS_EVERY:
            self._last = now
            self._pipe.send(("progress", done, total, note))


class Meter:
    """Wall seconds, CPU seconds and peak memory from its creation until `read`."""

    def __init__(self) -> None:
        _reset_peak()
        self._started, self._wall, self._cpu = time.time(), time.perf_counter(), _cpu_seconds()

    def read(self) -> dict[str, Any]:
        """{seconds, cpu_seconds, peak_memory_mb, started}."""
        return {
            "seconds": round(time.perf_counter() - self._wall, 3),
            "cpu_seconds": round(_cpu_seconds() - self._cpu, 3),
            "peak_memory_mb": round(_peak_memory_mb(), 1),
            "started": round(self._started, 3),
        }


def _cpu_seconds() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def _reset_peak() -> None:
    """Makes the kernel forget the process's highest memory (Linux; elsewhere it counts from its start)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_memory_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return float(kilobytes) / 1024
    except (OSError, StopIteration):
        scale = 1024 if sys.platform == "linux" else 1024 * 1024  # kilobytes; bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def pin_threads(threads: int) -> None:
    """One fixed number of threads: a reduction split otherwise gives other bits."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def die_with_parent() -> None:
    """Ends the process when the engine is gone (kill -9): nobody would read the result."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
