"""Which step can start now? Inputs done, longest remaining path first, then in the plan's order.

A step is open until it is done, failed, or lost with one that failed. A done step can be opened again: its artifact
was found damaged, and what is not done yet waits for it once more.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Collection, Iterable

from bench.graph import Graph, Step, path_costs

BUSY_PAUSE = 1.0  # seconds before a step that another run is doing is asked for again
TIMES_AGAIN = 2  # how often one artifact may be found damaged in a run before the step that reads it fails


class Agenda:
    """The steps of a graph, as far as they are not done. `reused`: fingerprints of those that are."""

    def __init__(self, graph: Graph, reused: Collection[str]) -> None:
        costs = {s.fingerprint: 0.0 if s.fingerprint in reused else s.cost for s in graph}
        self._path = path_costs(graph, costs)
        self._order = {s.fingerprint: k for k, s in enumerate(graph)}
        self._steps = {s.fingerprint: s for s in graph}
        self._children: dict[str, list[Step]] = {s.fingerprint: [] for s in graph}
        self._done = set(reused)
        self._waiting: dict[str, int] = {}  # open steps with inputs that are not done: how many
        self._heap: list[tuple[float, int, Step]] = []
        self._later: list[tuple[float, Step]] = []
        self._taken: set[str] = set()
        self._lost: set[str] = set()
        self._failed: set[str] = set()
        self._again: Counter[str] = Counter()
        for step in graph:
            for parent in {p.fingerprint for p in step.parents}:
                self._children[parent].append(step)
        todo = [s for s in graph if s.fingerprint not in self._done]
        self._open = len(todo)
        for step in todo:
            self._place(step)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to wait for."""
        return self._open <= 0

    def _place(self, step: Step) -> None:
        """Puts an open step where it belongs: among the ready ones, or behind its inputs."""
        self._taken.discard(step.fingerprint)
        missing = {p.fingerprint for p in step.parents} - self._done
        if missing:
            self._waiting[step.fingerprint] = len(missing)
        else:
            self._push(step)

    def _push(self, step: Step) -> None:
        fingerprint = step.fingerprint
        heapq.heappush(self._heap, (-self._path[fingerprint], self._order[fingerprint], step))

    def ready(self) -> bool:
        """Whether a step can start; brings back those whose pause is over."""
        now = time.monotonic()
        over = [step for since, step in self._later if since <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for step in over:
            self._place(step)
        return bool(self._heap)

    def take(self) -> Step:
        """The step to start next."""
        step = heapq.heappop(self._heap)[2]
        self._taken.add(step.fingerprint)
        return step

    def put_back(self, step: Step) -> None:
        """A step that was taken could not be handed out."""
        self._place(step)

    def postpone(self, step: Step) -> None:
        """Another run is at it: asks again later."""
        self._taken.discard(step.fingerprint)
        self._later.append((time.monotonic() + BUSY_PAUSE, step))

    def done(self, step: Step) -> None:
        """A step is finished; what waited for it alone becomes ready."""
        self._open -= 1
        self._taken.discard(step.fingerprint)
        self._done.add(step.fingerprint)
        for child in self._children[step.fingerprint]:
            if child.fingerprint not in self._waiting:
                continue
            self._waiting[child.fingerprint] -= 1
            if self._waiting[child.fingerprint] == 0:
                del self._waiting[child.fingerprint]
                self._push(child)

    def fail(self, step: Step) -> set[str]:
        """A step failed: returns the fingerprints of everything that stands on it and will not run."""
        before = len(self._lost)
        self._taken.discard(step.fingerprint)
        self._failed.add(step.fingerprint)
        todo = [step]
        while todo:
            for child in self._children[todo.pop().fingerprint]:
                if child.fingerprint not in self._lost | self._done | self._taken:
                    self._lost.add(child.fingerprint)
                    self._waiting.pop(child.fingerprint, None)
                    todo.append(child)
        self._later = [entry for entry in self._later if entry[1].fingerprint not in self._lost]
        self._open -= 1 + len(self._lost) - before
        return set(self._lost)

    def again(self, step: Step, damaged: Iterable[str]) -> list[Step] | None:
        """A step was taken and found these inputs damaged: they are opened again, and it waits for them.

        Returns the inputs that are to be done again; None, and nothing changes, when one was so too often already,
        or could not be made again.
        """
        names = list(damaged)
        if any(self._again[name] >= TIMES_AGAIN or name in self._failed | self._lost for name in names):
            return None
        opened = [self._steps[name] for name in names if name in self._done]
        self._done -= set(names)
        self._open += len(opened)
        self._again.update(one.fingerprint for one in opened)
        ready, self._heap = [entry[2] for entry in self._heap], []
        for one in [*ready, *(self._steps[name] for name in self._waiting), *opened, step]:
            self._place(one)
        return opened
