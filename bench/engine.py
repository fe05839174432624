"""How a graph of steps gets done on one machine: worker processes, one step each, the longest path first.

A failed step stops only what stands on it. Ctrl-C or SIGTERM ends the workers; everything finished stays in
the store and the checkpoints in its scratch folders, so that the same command goes on from there.
"""

from __future__ import annotations

import heapq
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from bench.environment import memory_mb
from bench.errors import Interrupted
from bench.graph import Graph, Step, kind_module, kind_version, path_costs
from bench.progress import Display
from bench.store import Store
from bench.worker import Task, serve

BUSY_PAUSE = 1.0  # seconds before a step that another run is doing is asked for again
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
        self.outcome = Outcome()

    def run(self, graph: Graph) -> Outcome:
        """Does everything; returns what became of it. Raises Interrupted when asked to stop."""
        outcome = self.outcome = Outcome(reused={s.fingerprint for s in graph if self.store.has(s.kind, s.fingerprint)})
        queue = _Queue(graph, outcome)
        self.display.start(list(graph), outcome.reused)
        try:
            with _signals():
                while not queue.finished:
                    self._hand_out(queue)
                    self._listen(queue, outcome)
                self._close()
        finally:
            self._stop()
            self.display.stop()
        return outcome

    def _hand_out(self, queue: _Queue) -> None:
        """Gives ready steps to idle workers, starting workers as they are needed."""
        while queue.ready():
            idle = next((w for w in self._workers if w.step is None), None)
            if idle is None and len(self._workers) < self.count:
                idle = self._start()
            if idle is None:
                return
            idle.step = queue.take()
            idle.pipe.send(self._task(idle.step))
            self.display.begin(idle.step)

    def _start(self) -> _Worker:
        device = self.devices[len(self._workers) % len(self.devices)]
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve, args=(theirs, str(self.store.root), device, self.threads), daemon=False
        )
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
        )

    def _listen(self, queue: _Queue, outcome: Outcome) -> None:
        """Waits for a message (half a second at most) and acts on what came."""
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(by_pipe), timeout=0.5):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                message = self._bury(worker)
            self._act(worker, message, queue, outcome)
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

    def _act(self, worker: _Worker, message: tuple[Any, ...], queue: _Queue, outcome: Outcome) -> None:
        step = worker.step
        if step is None:  # an idle worker died: another is started when needed
            return
        if message[0] == "progress":
            self.display.update(step, *message[1:])
            return
        worker.step = None
        if message[0] == "busy":
            queue.postpone(step)
            self.display.busy(step)
            return
        if message[0] == "failed":
            outcome.failed[step.fingerprint] = message[1]
            self.display.failed(step, message[1], message[2])
            outcome.skipped |= queue.fail(step)
            return
        if message[0] == "done":
            outcome.costs[step.fingerprint] = message[1]
        else:
            outcome.reused.add(step.fingerprint)
        self.display.finish(step, message[1] if message[0] == "done" else None)
        queue.done(step)

    def _close(self) -> None:
        """Asks idle workers to end."""
        for worker in self._workers:
            try:
                worker.pipe.send(None)
            except OSError:  # it is gone already
                continue

    def _stop(self) -> None:
        """Ends the workers whatever they do."""
        busy = [w for w in self._workers if w.step is not None]
        for worker in busy:
            worker.process.terminate()
        patience = time.monotonic() + STOP_PATIENCE
        for worker in self._workers:
            worker.process.join(max(0.0, patience - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers.clear()


class _Queue:
    """Which steps can start now: inputs done, longest remaining path first, then in the plan's order."""

    def __init__(self, graph: Graph, outcome: Outcome) -> None:
        costs = {s.fingerprint: 0.0 if s.fingerprint in outcome.reused else s.cost for s in graph}
        self._path = path_costs(graph, costs)
        self._order = {s.fingerprint: k for k, s in enumerate(graph)}
        self._children: dict[str, list[Step]] = {s.fingerprint: [] for s in graph}
        self._waits: dict[str, int] = {}
        self._heap: list[tuple[float, int, Step]] = []
        self._later: list[tuple[float, Step]] = []
        self._lost: set[str] = set()
        todo = [s for s in graph if s.fingerprint not in outcome.reused]
        self._open = len(todo)
        for step in todo:
            missing = {p.fingerprint: p for p in step.parents if p.fingerprint not in outcome.reused}
            for fingerprint in missing:
                self._children[fingerprint].append(step)
            self._waits[step.fingerprint] = len(missing)
            if not missing:
                self._push(step)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to wait for."""
        return self._open == 0

    def _push(self, step: Step) -> None:
        fingerprint = step.fingerprint
        heapq.heappush(self._heap, (-self._path[fingerprint], self._order[fingerprint], step))

    def ready(self) -> bool:
        """Whether a step can start; brings back those whose pause is over."""
        now = time.monotonic()
        for entry in [e for e in self._later if e[0] <= now]:
            self._later.remove(entry)
            self._push(entry[1])
        return bool(self._heap)

    def take(self) -> Step:
        """The step to start next."""
        return heapq.heappop(self._heap)[2]

    def postpone(self, step: Step) -> None:
        """Another run is at it: asks again later."""
        self._later.append((time.monotonic() + BUSY_PAUSE, step))

    def done(self, step: Step) -> None:
        """A step is finished; what waited for it alone becomes ready."""
        self._open -= 1
        for child in self._children[step.fingerprint]:
            self._waits[child.fingerprint] -= 1
            if self._waits[child.fingerprint] == 0:
                self._push(child)

    def fail(self, step: Step) -> set[str]:
        """A step failed: returns the fingerprints of everything that stands on it and will not run."""
        before = len(self._lost)
        todo = [step]
        while todo:
            for child in self._children[todo.pop().fingerprint]:
                if child.fingerprint not in self._lost:
                    self._lost.add(child.fingerprint)
                    todo.append(child)
        self._open -= 1 + len(self._lost) - before
        return set(self._lost)


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
