"""How does a run go when torchrun started it? Rank 0 leads: it takes step after step; all ranks do it together.

Steps that can be shared (training, sampling, encoding, measuring: modules with `SHARED = True`) are done by all
ranks, all others by rank 0 while the rest wait. Rank 0 alone asks the store, holds locks, writes artifacts, shows
progress and makes the report; the others follow its orders, each with a plan of its own, which must be the same. A step
that fails on any rank fails on all, with that rank's message; a rank that dies ends the others, and what was finished
stays.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.agenda import Agenda
from bench.engine import Engine, Outcome, signals
from bench.errors import BenchError, Interrupted, UsageError
from bench.fingerprint import digest
from bench.graph import Graph, Step
from bench.progress import Display
from bench.ranks import ALONE, Launch, RankFailed, RanksLost
from bench.store import Store
from bench.work import Work
from bench.worker import THREAD_VARIABLES, Meter, Task, attempt, die_with_parent, pin_threads

if TYPE_CHECKING:
    from bench.ranks_group import Group
    from bench.runner import Options, Prepared

PAUSE = 0.2  # seconds between two looks at a step that another run is doing
PATIENCE = 120.0  # seconds that an artifact may take to be seen through a network file system


class Stop(KeyboardInterrupt):
    """Ctrl-C or SIGTERM: no `except Exception` of a step's body may take it for a bad video."""


def stop(words: str) -> None:
    """What a signal does to a rank."""
    raise Stop(words)


class RankEngine(Engine):
    """Rank 0's engine: one step at a time, in its own process, with the help of the others."""

    def __init__(self, store: Store, device: str, threads: int, display: Display, ranks: Group) -> None:
        super().__init__(store, threads, display)
        self.device, self.ranks = device, ranks
        self._shelf = Store(store.root, make=False)  # a store that vanished is not made anew

    def run(self, graph: Graph) -> Outcome:
        """See `Engine.run`."""
        try:
            return super().run(graph)
        except Stop as stopped:
            raise Interrupted(str(stopped)) from None

    def interrupt(self, words: str) -> None:
        """See `Engine.interrupt`."""
        stop(words)

    def hand_out(self, agenda: Agenda) -> None:
        """Does the next step, if one is ready, from its beginning to its end."""
        if not agenda.ready():
            return
        step = agenda.take()
        self.display.begin(step)
        task = self.task(step)

        def report(done: int, total: int, note: str) -> None:
            self.act(step, ("progress", done, total, note), agenda)

        together = self.ranks if is_shared(task) else ALONE
        answer = attempt(task, self._shelf, self.device, self.threads, report, together)
        if self.ranks.lost:
            raise RanksLost(str(answer[1]) if answer[0] == "failed" else "another rank is gone")
        self.act(step, answer, agenda)
        self.outcome.peak_memory_mb = max(
            [self.outcome.peak_memory_mb, *(cost["peak_memory_mb"] for cost in self.outcome.costs.values())]
        )

    def listen(self, agenda: Agenda) -> None:
        """Nobody sends news: what is not ready is being done by another run."""
        self.display.tick()
        if not agenda.finished and not agenda.ready():
            time.sleep(PAUSE)

    def close(self) -> None:
        """The others are told by `together`, once the report is made."""

    def stop(self) -> None:
        """Nothing of this engine goes on by itself."""


def is_shared(task: Task) -> bool:
    """Whether the body of a step knows how to be done by several ranks."""
    try:
        return bool(getattr(importlib.import_module(task.module), "SHARED", False))
    except Exception:  # a body that does not load is `attempt`'s to report
        return False


# ---- all ranks ----


def pin(profile: str) -> None:
    """Fixes the threads of this process, before numpy and torch are loaded: they look at the variables only then."""
    from bench.profile import load_profile

    try:
        threads = load_profile(profile).execution.threads
    except BenchError:  # said, with all that is wrong, when the plan is made
        return
    os.environ.update({name: str(threads) for name in THREAD_VARIABLES})


def together(
    launch: Launch, options: Options, plan: Callable[[Options], Prepared], lead: Callable[[Prepared, Group], int]
) -> int:
    """One run by all ranks; returns the exit code, the same on each.

    Args:
        plan: makes the plan; called on every rank.
        lead: what rank 0 does with it.
    """
    die_with_parent()
    if options.engine != "local":
        raise UsageError(f"--engine {options.engine} under torchrun: torchrun's ranks are the engine. Leave it out")
    prepared, error = _planned(options, plan)
    from bench.ranks_group import Group, linger

    with signals(stop):
        try:
            ranks = Group(launch, gpu=prepared is not None and prepared.machines.kind == "cuda")
            prepared = _agreed(ranks, prepared, error)
            prepared = replace(prepared, machines=_of_rank(prepared, launch))
            code = _led(ranks, prepared, lead) if ranks.first else follow(ranks, prepared, options)
        except RanksLost:
            linger()  # a signal to all of us is the better reason
            raise
        except Stop as stopped:
            if launch.rank:  # rank 0 says it
                raise SystemExit(Interrupted.exit_code) from None
            raise Interrupted(str(stopped)) from None
    ranks.leave()
    return code


def _planned(options: Options, plan: Callable[[Options], Prepared]) -> tuple[Prepared | None, BenchError | None]:
    try:
        return plan(options), None
    except BenchError as error:
        return None, error


def _agreed(ranks: Group, prepared: Prepared | None, error: BenchError | None) -> Prepared:
    """This rank's plan, when all have one and it is the same. Raises on all ranks what is wrong on one, by rank 0."""
    plan = digest([step.fingerprint for step in prepared.plan.graph]) if prepared else ""
    told = {"plan": plan, "error": str(error or ""), "code": error.exit_code if error else 0}
    said = [json.loads(blob) for blob in ranks.exchange(json.dumps(told).encode())]
    wrong = next(((rank, one) for rank, one in enumerate(said) if one["error"]), None)
    other = next((rank for rank, one in enumerate(said) if one["plan"] != said[0]["plan"]), None)
    if wrong is None and other is None:
        assert prepared is not None
        return prepared
    if not ranks.first:
        raise SystemExit(wrong[1]["code"] if wrong else UsageError.exit_code)
    if wrong is not None:
        rank, one = wrong
        raise error or UsageError(f"rank {rank}: {one['error']}")
    raise UsageError(
        f"rank {other} makes another plan than rank 0: all machines need the same code, versions, data and weights"
    )


def _of_rank(prepared: Prepared, launch: Launch) -> Any:
    """The one device of this rank."""
    devices = prepared.machines.devices  # one alone where the launcher shows each rank its own
    return replace(prepared.machines, devices=(devices[launch.local_rank % len(devices)],), workers=1)


def _led(ranks: Group, prepared: Prepared, lead: Callable[[Prepared, Group], int]) -> int:
    """Rank 0's part; whatever its end, the others are let go, unless they are lost or were stopped as well."""
    try:
        code = lead(prepared, ranks)
    except (RanksLost, Interrupted):
        raise
    except BenchError as error:
        ranks.tell({"end": error.exit_code})
        raise
    if code == Interrupted.exit_code:
        raise SystemExit(code)  # said already; the others have the signal too
    ranks.tell({"end": code})
    return code


# ---- the others ----


def follow(ranks: Group, prepared: Prepared, options: Options) -> int:
    """The life of ranks 1, 2, ...: their share of each step that rank 0 names, until it says that the run is over."""
    steps = {step.fingerprint: step for step in prepared.plan.graph}
    store = Store(options.store_folder, make=False)
    engine = RankEngine(store, prepared.devices[0], prepared.plan.profile.execution.threads, Display(1), ranks)
    while True:
        order = ranks.order()
        if "end" in order:
            return int(order["end"])
        assist(engine, steps[order["step"]])


def assist(engine: RankEngine, step: Step) -> None:
    """This rank's share of one step; a failure is told to the others, and the run goes on."""
    ranks, task, meter = engine.ranks, engine.task(step), Meter()
    try:
        ranks.begin(step.fingerprint)
        _await_inputs(task, engine.store)
        body = importlib.import_module(task.module)
        pin_threads(engine.threads)
        work = Work(
            config={**task.config, **task.local},
            inputs={role: Path(path) for role, path in task.inputs.items()},
            out=engine.store.root / "tmp" / f"none-of-rank-{ranks.rank}",  # rank 0 writes; whoever else tries fails
            scratch=engine.store.scratch(task.fingerprint),
            device=engine.device,
            ranks=ranks,
        )
        body.run(work)
        ranks.end(meter.read())
    except (RankFailed, RanksLost) as error:
        if ranks.lost:
            raise RanksLost(str(error)) from None
    except Exception as error:
        ranks.fail(error)


def _await_inputs(task: Task, store: Store) -> None:
    """Waits until a network file system shows what rank 0 wrote. Raises BenchError when it does not."""
    until = time.monotonic() + PATIENCE
    for role, kind in task.artifacts.items():
        while not store.has(kind, task.input_digests[role]):
            if time.monotonic() > until:
                raise BenchError(
                    f"{store.root} lacks {kind} {task.input_digests[role][:12]}, which rank 0 sees: the store must be "
                    "on a file system that all ranks share"
                )
            time.sleep(PAUSE)
