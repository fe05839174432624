"""What a worker process does: waits for a step, does it under its lock, writes the artifact, says how it
went.

Messages to the engine, over one pipe: ("progress", done, total, note), then one of
("done", costs) · ("reused",) · ("busy",) another run holds the lock · ("failed", error, traceback).
"""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from filelock import Timeout

from bench.store import Store
from bench.work import Work

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
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


def serve(pipe: Connection, store: str, device: str, threads: int) -> None:
    """The life of a worker: one task after another until None comes or the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the engine decides
    _die_with_parent()
    os.environ.update({name: str(threads) for name in THREAD_VARIABLES})
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        if task is None:
            return
        pipe.send(_attempt(task, Store(Path(store)), device, threads, pipe))


def _attempt(task: Task, store: Store, device: str, threads: int, pipe: Connection) -> tuple[Any, ...]:
    lock = store.lock(task.fingerprint)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return ("busy",)
    try:
        if store.has(task.kind, task.fingerprint):
            return ("reused",)
        return ("done", perform(task, store, device, threads, _Reporter(pipe)))
    except Exception as error:  # whatever a body raises is a failed step, never a dead engine
        return ("failed", f"{type(error).__name__}: {error}", traceback.format_exc())
    finally:
        lock.release()


def perform(task: Task, store: Store, device: str, threads: int, report: Any) -> dict[str, Any]:
    """Does one step (the lock is held) and commits its artifact. Returns what it cost."""
    out, scratch = store.begin(task.fingerprint), store.scratch(task.fingerprint)
    scratch.mkdir(parents=True, exist_ok=True)
    meter = Meter()
    try:
        body = importlib.import_module(task.module)
        _pin_threads(threads)
        work = Work(
            config={**task.config, **task.local},
            inputs={role: Path(path) for role, path in task.inputs.items()},
            out=out,
            scratch=scratch,
            device=device,
            report=report,
        )
        body.run(work)
        costs = meter.read()
        about = {
            "version": task.version,
            "label": task.label,
            "config": task.config,
            "inputs": task.input_digests,
        }
        store.commit(task.kind, task.fingerprint, out, about, costs)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
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


def _pin_threads(threads: int) -> None:
    """One fixed number of threads: a reduction split otherwise gives other bits."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _die_with_parent() -> None:
    """Ends the process when the engine is gone (kill -9): nobody would read the result."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
