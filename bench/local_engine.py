"""How do steps get done on one machine? By worker processes, one step each, the longest path first."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from bench.agenda import Agenda
from bench.engine import Engine
from bench.environment import memory_mb
from bench.graph import Step
from bench.progress import Display
from bench.store import Store
from bench.worker import serve

STOP_PATIENCE = 5.0  # seconds a worker gets to end before it is killed


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    device: str
    step: Step | None = None


class LocalEngine(Engine):
    """Does steps in processes of this machine.

    Args:
        store: where artifacts are found and left.
        workers: steps done at the same time.
        devices: "cpu" or "cuda:<n>"; worker i gets devices[i % len(devices)].
        threads: CPU threads of each worker.
        display: who is told about progress.
    """

    def __init__(self, store: Store, workers: int, devices: Sequence[str], threads: int, display: Display) -> None:
        super().__init__(store, threads, display)
        self.devices, self.count = list(devices), workers
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._looked = 0.0
        self._closed = False

    def hand_out(self, agenda: Agenda) -> None:
        """Gives ready steps to idle workers, starting workers as they are needed."""
        while agenda.ready():
            idle = next((w for w in self._workers if w.step is None), None)
            if idle is None and len(self._workers) < self.count:
                idle = self._start()
            if idle is None:
                return
            step = agenda.take()
            try:
                idle.pipe.send(self.task(step))
            except OSError:  # it died while it had nothing to do
                agenda.put_back(step)
                self._bury(idle)
                continue
            idle.step = step
            self.display.begin(step)

    def _start(self) -> _Worker:
        taken = Counter(worker.device for worker in self._workers)
        device = min(self.devices, key=lambda name: taken[name])  # a worker that died leaves its own free
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve, args=(theirs, str(self.store.root), device, self.threads), daemon=False
        )
        with _held_back():  # Ctrl-C reaches the whole group; a worker must not see it before it can ignore it
            process.start()
        theirs.close()
        worker = _Worker(process, ours, device)
        self._workers.append(worker)
        return worker

    def listen(self, agenda: Agenda) -> None:
        """Waits for a message (half a second at most) and acts on what came."""
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(by_pipe), timeout=0.5):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                message = self._bury(worker)
            if worker.step is not None and self.act(worker.step, message, agenda):
                worker.step = None  # an idle worker that died is replaced when it is needed
        self._watch_memory()
        self.display.tick()

    def _watch_memory(self) -> None:
        if time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        everyone = [None, *(worker.process.pid for worker in self._workers)]
        self.outcome.peak_memory_mb = max(self.outcome.peak_memory_mb, sum(map(memory_mb, everyone)))

    def _bury(self, worker: _Worker) -> tuple[Any, ...]:
        """A worker died in the middle of a step: forgets it and says why."""
        worker.process.join()
        code = worker.process.exitcode
        self._workers.remove(worker)
        worker.pipe.close()
        reason = f"exit code {code}"
        if code is not None and code < 0:
            reason = signal.Signals(-code).name
            reason += ", perhaps out of memory" if code == -signal.SIGKILL else ""
        return ("failed", f"the worker process died ({reason})", "")

    def close(self) -> None:
        """Asks idle workers to end."""
        self._closed = True
        for worker in self._workers:
            try:
                worker.pipe.send(None)
            except OSError:  # it is gone already
                continue

    def stop(self) -> None:
        """Ends the workers: idle ones were asked to and go by themselves, unless the run was stopped."""
        for worker in self._workers:
            if worker.step is not None or not self._closed:
                worker.process.terminate()
        patience = time.monotonic() + STOP_PATIENCE
        for worker in self._workers:
            worker.process.join(max(0.0, patience - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers.clear()


@contextmanager
def _held_back() -> Iterator[None]:
    """Keeps Ctrl-C for later; a process that is started meanwhile never gets it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
