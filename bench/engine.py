"""How a graph of steps gets done on one machine: worker processes, one step each, the longest path first.

A failed step stops only what stands on it. An input that is not what was written (its content is read before it is
used) is made again. Ctrl-C or SIGTERM ends the workers; everything finished stays in the store and the checkpoints in
its scratch folders, so that the same command goes on from there.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from bench.agenda import Agenda
from bench.environment import memory_mb
from bench.errors import Interrupted
from bench.graph import Graph, Step, kind_module, kind_version
from bench.progress import Display
from bench.store import Store
from bench.worker import Task, serve

STOP_PATIENCE = 5.0  # seconds a worker gets to end before it is killed


@dataclass
class Outcome:
    """What became of the steps of a graph, by fingerprint."""

    costs: dict[str, dict[str, Any]] = field(default_factory=dict)
    reused: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    peak_memory_mb: float = 0.0  # of the engine and all workers together, looked at once a second

    @property
    def complete(self) -> bool:
        """Whether every step is done."""
        return not self.failed and not self.skipped


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    device: str
    step: Step | None = None


class LocalEngine:
    """Does the steps of a graph that are not in the store yet.

    Args:
        store: where artifacts are found and left.
        workers: steps done at the same time.
        devices: "cpu" or "cuda:<n>"; worker i gets devices[i % len(devices)].
        threads: CPU threads of each worker.
        display: who is told about progress.
    """

    def __init__(self, store: Store, workers: int, devices: Sequence[str], threads: int, display: Display) -> None:
        self.store, self.devices, self.threads, self.display = store, list(devices), threads, display
        self.count = workers
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._looked = 0.0
        self._suspect: set[str] = set()  # steps whose artifact was found damaged
        self._closed = False
        self.outcome = Outcome()

    def run(self, graph: Graph) -> Outcome:
        """Does everything; returns what became of it. Raises Interrupted when asked to stop."""
        outcome = self.outcome = Outcome(reused=self._there(graph))
        agenda = Agenda(graph, outcome.reused)
        if len(outcome.reused) < len(graph):
            self.store.part("locks")  # the one place that may make the store: workers may not
        self.display.start(list(graph), outcome.reused)
        try:
            with _signals():
                while not agenda.finished:
                    self._hand_out(agenda)
                    self._listen(agenda, outcome)
                self._close()
        finally:
            self._stop()
            self.display.stop()
        return outcome

    def _there(self, graph: Graph) -> set[str]:
        """Fingerprints of the steps that are done. Results that no other step will read are read here, in full."""
        read = {parent.fingerprint for step in graph for parent in step.parents}
        found = set()
        for step in graph:
            if not self.store.has(step.kind, step.fingerprint):
                continue
            if step.fingerprint in read or self.store.damage(step.kind, step.fingerprint) is None:
                found.add(step.fingerprint)
            else:
                self._suspect.add(step.fingerprint)
        return found

    def _hand_out(self, agenda: Agenda) -> None:
        """Gives ready steps to idle workers, starting workers as they are needed."""
        while agenda.ready():
            idle = next((w for w in self._workers if w.step is None), None)
            if idle is None and len(self._workers) < self.count:
                idle = self._start()
            if idle is None:
                return
            step = agenda.take()
            try:
                idle.pipe.send(self._task(step))
            except OSError:  # it died while it had nothing to do
                agenda.put_back(step)
                self._bury(idle)
                continue
            idle.step = step
            self.display.begin(step)

    def _start(self) -> _Worker:
        device = self.devices[len(self._workers) % len(self.devices)]
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

    def _task(self, step: Step) -> Task:
        paths = {
            role: str(self.store.folder(s.kind, s.fingerprint) if isinstance(s, Step) else s.path)
            for role, s in step.inputs.items()
        }
        return Task(
            kind=step.kind,
            module=kind_module(step.kind),
            version=kind_version(step.kind),
            label=step.label,
            fingerprint=step.fingerprint,
            config=dict(step.config),
            local=dict(step.local),
            input_digests=step.input_digests,
            inputs=paths,
            artifacts={role: s.kind for role, s in step.inputs.items() if isinstance(s, Step)},
            suspect=step.fingerprint in self._suspect,
        )

    def _listen(self, agenda: Agenda, outcome: Outcome) -> None:
        """Waits for a message (half a second at most) and acts on what came."""
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(by_pipe), timeout=0.5):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                message = self._bury(worker)
            self._act(worker, message, agenda, outcome)
        self._watch_memory(outcome)
        self.display.tick()

    def _watch_memory(self, outcome: Outcome) -> None:
        if time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        everyone = [None, *(worker.process.pid for worker in self._workers)]
        outcome.peak_memory_mb = max(outcome.peak_memory_mb, sum(map(memory_mb, everyone)))

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

    def _act(self, worker: _Worker, message: tuple[Any, ...], agenda: Agenda, outcome: Outcome) -> None:
        step = worker.step
        if step is None:  # an idle worker died: another is started when needed
            return
        if message[0] == "progress":
            self.display.update(step, *message[1:])
            return
        worker.step = None
        if message[0] == "busy":
            agenda.postpone(step)
            self.display.busy(step)
            return
        if message[0] == "damaged":
            again = agenda.again(step, message[1])
            if again is not None:
                self._make_again(step, again, message[1], outcome)
                return
            listed = "; ".join(f"{name[:12]} {words}" for name, words in message[1].items())
            message = ("failed", f"inputs are damaged, after they were made again: {listed}. Is the disk sound?", "")
        if message[0] == "failed":
            outcome.failed[step.fingerprint] = message[1]
            self.display.failed(step, message[1], message[2])
            outcome.skipped |= agenda.fail(step)
            return
        if message[0] == "done":
            outcome.costs[step.fingerprint] = message[1]
        else:
            outcome.reused.add(step.fingerprint)
        self.display.finish(step, message[1] if message[0] == "done" else None)
        agenda.done(step)

    def _make_again(self, step: Step, again: Sequence[Step], words: Mapping[str, str], outcome: Outcome) -> None:
        """Says what was damaged and forgets that it was done."""
        self.display.busy(step)
        for one in again:
            self._suspect.add(one.fingerprint)
            outcome.reused.discard(one.fingerprint)
            what = f"{one.label} ({one.kind} {one.fingerprint[:12]})"
            self.display.reopen(one, f"DAMAGED {what}, made again: {words[one.fingerprint]}")

    def _close(self) -> None:
        """Asks idle workers to end."""
        self._closed = True
        for worker in self._workers:
            try:
                worker.pipe.send(None)
            except OSError:  # it is gone already
                continue

    def _stop(self) -> None:
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
def _signals() -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into Interrupted for as long as steps run."""

    def stop(number: int, frame: object) -> None:
        raise Interrupted(f"stopped by {signal.Signals(number).name}")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
