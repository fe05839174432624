"""When would a plan be done, with N steps at once? The longest chain, how wide the plan is, the time by the clock.

The order is the engine's (bench/agenda.py): of the steps whose inputs are done, the one with the longest path first.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from bench.graph import Graph, Step, path_costs


@dataclass(frozen=True)
class Timetable:
    """Seconds; `chain` are the steps that no number of devices shortens, `widest` how many steps ever ran at once."""

    wall: float
    longest: float
    work: float
    chain: tuple[Step, ...]
    widest: int

    @property
    def width(self) -> float:
        """Work over the longest chain: with more devices than this, some wait."""
        return self.work / self.longest if self.longest else 1.0


def timetable(graph: Graph, seconds: Mapping[str, float], at_once: int) -> Timetable:
    """Plays the plan through. `seconds`: of each step by fingerprint, 0 for what is done."""
    paths = path_costs(graph, seconds)
    steps = {step.fingerprint: step for step in graph}
    waiting = {f: len({p.fingerprint for p in step.parents}) for f, step in steps.items()}
    children: dict[str, list[str]] = {f: [] for f in steps}
    for f, step in steps.items():
        for parent in {p.fingerprint for p in step.parents}:
            children[parent].append(f)
    order = {f: k for k, f in enumerate(steps)}
    ready = [(-paths[f], order[f], f) for f, count in waiting.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int, str]] = []
    now, widest = 0.0, 0
    while ready or running:
        while ready and len(running) < at_once:
            _, number, f = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[f], number, f))
        widest = max(widest, sum(1 for _, _, f in running if seconds[f] > 0))
        now, _, done = heapq.heappop(running)
        for child in children[done]:
            waiting[child] -= 1
            if not waiting[child]:
                heapq.heappush(ready, (-paths[child], order[child], child))
    longest = max(paths.values(), default=0.0)
    return Timetable(now, longest, sum(seconds.values()), _chain(graph, paths, seconds), widest)


def _chain(graph: Graph, paths: Mapping[str, float], seconds: Mapping[str, float]) -> tuple[Step, ...]:
    """The steps of the longest path, first to last, but for those that take no time."""
    steps = {step.fingerprint: step for step in graph}
    children: dict[str, list[str]] = {f: [] for f in steps}
    for f, step in steps.items():
        for parent in step.parents:
            children[parent.fingerprint].append(f)
    starts = [f for f, step in steps.items() if not step.parents]
    chain: list[Step] = []
    while starts:
        at = max(starts, key=lambda f: paths[f])
        if seconds[at] > 0:
            chain.append(steps[at])
        starts = children[at]
    return tuple(chain)
