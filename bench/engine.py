"""How does a graph of steps get done, whoever does them? The part that all engines share.

`bench/local_engine.py` hands steps to processes of this machine, `bench/ray_engine.py` to a Ray cluster. A failed step
stops only what stands on it. An input that is not what was written (its content is read before it is used) is made
again. Ctrl-C or SIGTERM ends the work; everything finished stays in the store and the checkpoints in its scratch
folders, so that the same command, with any engine, goes on from there.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.agenda import Agenda
from bench.errors import Interrupted
from bench.graph import Graph, Step, kind_module, kind_version
from bench.progress import Display
from bench.store import Store
from bench.worker import Task


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


class Engine(ABC):
    """Does the steps of a graph that are not in the store yet.

    A subclass says how ready steps are handed out and how it hears of them; what an answer of `bench.worker.attempt`
    means for the rest of the graph is decided here, once.

    Args:
        store: where artifacts are found and left.
        threads: CPU threads of each step.
        display: who is told about progress.
    """

    def __init__(self, store: Store, threads: int, display: Display) -> None:
        self.store, self.threads, self.display = store, threads, display
        self.suspect: set[str] = set()  # steps whose artifact was found damaged
        self.outcome = Outcome()

    def run(self, graph: Graph) -> Outcome:
        """Does everything; returns what became of it. Raises Interrupted when asked to stop."""
        outcome = self.outcome = Outcome(reused=self.there(graph))
        agenda = Agenda(graph, outcome.reused)
        if len(outcome.reused) < len(graph):
            self.store.part("locks")  # the one place that may make the store: workers may not
        self.display.start(list(graph), outcome.reused)
        try:
            with signals(self.interrupt):
                while not agenda.finished:
                    self.hand_out(agenda)
                    self.listen(agenda)
                self.close()
        finally:
            self.stop()
            self.display.stop()
        return outcome

    @abstractmethod
    def hand_out(self, agenda: Agenda) -> None:
        """Takes ready steps off the agenda, as many as can be done now, and has them begun."""

    @abstractmethod
    def listen(self, agenda: Agenda) -> None:
        """Waits for news (half a second at most) and gives each to `act`."""

    @abstractmethod
    def close(self) -> None:
        """All steps are done: lets the workers go."""

    @abstractmethod
    def stop(self) -> None:
        """Ends what is still at work, whatever the reason; called last, also after `close`."""

    def interrupt(self, words: str) -> None:
        """Called by a signal handler: asks the run to stop."""
        raise Interrupted(words)

    def there(self, graph: Graph) -> set[str]:
        """Fingerprints of the steps that are done. Results that no other step will read are read here, in full."""
        read = {parent.fingerprint for step in graph for parent in step.parents}
        found = set()
        for step in graph:
            if not self.store.has(step.kind, step.fingerprint):
                continue
            if step.fingerprint in read or self.store.damage(step.kind, step.fingerprint) is None:
                found.add(step.fingerprint)
            else:
                self.suspect.add(step.fingerprint)
        return found

    def task(self, step: Step) -> Task:
        """A step as a worker needs it."""
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
            suspect=step.fingerprint in self.suspect,
        )

    def act(self, step: Step, message: tuple[Any, ...], agenda: Agenda) -> bool:
        """Acts on what a worker said of a step (the messages of `bench/worker.py`). Returns whether the step has left
        its worker.
        """
        if message[0] == "progress":
            self.display.update(step, *message[1:])
            return False
        if message[0] == "busy":
            agenda.postpone(step)
            self.display.busy(step)
        elif message[0] == "damaged":
            self._damaged(step, message[1], agenda)
        elif message[0] == "failed":
            self._failed(step, message[1], message[2], agenda)
        else:
            self._finished(step, message[1] if message[0] == "done" else None, agenda)
        return True

    def _finished(self, step: Step, costs: dict[str, Any] | None, agenda: Agenda) -> None:
        """Done now, or (no costs) by another run."""
        if costs is None:
            self.outcome.reused.add(step.fingerprint)
        else:
            self.outcome.costs[step.fingerprint] = costs
        self.display.finish(step, costs)
        agenda.done(step)

    def _failed(self, step: Step, words: str, details: str, agenda: Agenda) -> None:
        self.outcome.failed[step.fingerprint] = words
        self.display.failed(step, words, details)
        self.outcome.skipped |= agenda.fail(step)

    def _damaged(self, step: Step, words: Mapping[str, str], agenda: Agenda) -> None:
        """Has damaged inputs made again; one that came out damaged too often fails the step that reads it."""
        again = agenda.again(step, words)
        if again is not None:
            self._make_again(step, again, words)
            return
        listed = "; ".join(f"{name[:12]} {what}" for name, what in words.items())
        self._failed(
            step, f"inputs are damaged, after they were made again: {listed}. Is the disk sound?", "", agenda
        )

    def _make_again(self, step: Step, again: Sequence[Step], words: Mapping[str, str]) -> None:
        """Says what was damaged and forgets that it was done."""
        self.display.busy(step)
        for one in again:
            self.suspect.add(one.fingerprint)
            self.outcome.reused.discard(one.fingerprint)
            what = f"{one.label} ({one.kind} {one.fingerprint[:12]})"
            self.display.reopen(one, f"DAMAGED {what}, made again: {words[one.fingerprint]}")


@contextmanager
def signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Has Ctrl-C and SIGTERM call `stop` with words, for as long as steps run."""

    def handle(number: int, frame: object) -> None:
        stop(f"stopped by {signal.Signals(number).name}")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
