"""How do steps get done on many machines? As Ray tasks: names and paths travel by Ray, artifacts by the store alone.

A task asks for as many CPUs as a step has threads, for a GPU when its networks run on one, and for as much memory as
the largest finished step of its kind took. Its body is that of the local engine's workers (`bench.worker.attempt`):
the same locks, fingerprints and answers. A task whose worker or node is lost is begun again up to RETRIES
times and goes on from the checkpoint in the step's scratch folder; that is done here and not by Ray, so that the log
says so. An error of the step itself is not tried again.

RAY_ADDRESS names the cluster ("auto": the one of this machine); without it a cluster of this machine alone is started
for the run, which listens on 127.0.0.1. Repository, data and store must lie at the same paths on every node.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.agenda import Agenda
from bench.devices import find_devices
from bench.engine import Engine
from bench.environment import memory_mb
from bench.errors import Interrupted, UsageError
from bench.graph import Step
from bench.profile import ROOT, Execution
from bench.progress import Display
from bench.store import Store
from bench.worker import THREAD_VARIABLES, Task, attempt

if TYPE_CHECKING:
    from bench.engines import Machines

RETRIES = 3  # how often a step is begun again after its worker or node was lost
STOP_PATIENCE = 5.0  # seconds a task gets to end before its worker is killed
ANSWER_PATIENCE = 10.0  # seconds that a cluster gets to answer
PROGRESS = "progress.json"  # in a step's scratch folder: how far it is
PROGRESS_EVERY = 2.0  # seconds between two looks at it, and between two times it is written
RESOURCES_EVERY = 10.0  # seconds between two looks at what the cluster has: nodes come and go
OBJECT_STORE = 100 * 2**20  # bytes of Ray's own store in a cluster that is started here: tasks send names and paths
SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_RECORD_ACTOR_TASK_LOGGING": "0", "RAY_DEDUP_LOGS": "0"}
MEGABYTE = 2**20
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray listens on 127.0.0.1 alone, on Linux as well


class RayEngine(Engine):
    """Does steps as tasks of a Ray cluster.

    Args:
        store: where artifacts are found and left; every node sees it at the same path.
        machines: what the cluster was found to have.
        limit: steps done at the same time, None for as many as the cluster has room for.
        threads: CPU threads of each step.
        display: who is told about progress.
    """

    def __init__(
        self, store: Store, machines: Machines, limit: int | None, threads: int, display: Display
    ) -> None:
        super().__init__(Store(store.root.absolute()), threads, display)
        self.machines, self.limit = machines, limit
        self._running: dict[Any, Step] = {}  # reference to a task's answer -> its step
        self._lost: Counter[str] = Counter()  # fingerprint -> workers that were lost over it
        self._memory: dict[str, int] = {}  # kind -> bytes that its largest finished step took
        self._told: dict[str, tuple[float, ...]] = {}  # fingerprint -> what was last shown of its progress
        self._asked_to_stop = ""
        self._looked = self._counted = -RESOURCES_EVERY
        self._slots = 1

    def hand_out(self, agenda: Agenda) -> None:
        """Submits ready steps, as many as the cluster can do at once: those that wait keep their order here."""
        while agenda.ready() and len(self._running) < self._room():
            step = agenda.take()
            self._running[self._submit(step)] = step
            self.display.begin(step)

    def _submit(self, step: Step) -> Any:
        import ray

        connect(self.threads, self.machines.workers, self.machines.kind)
        on_gpu = needs_gpu(step)
        remote = ray.remote(do).options(
            name=step.label,
            num_cpus=self.threads,
            num_gpus=int(on_gpu),
            memory=self._reserved(step.kind),
            max_retries=0,
            scheduling_strategy="SPREAD",
        )
        device = "cuda:0" if on_gpu else "cpu"  # Ray shows a task its own GPU alone
        return remote.remote(self.task(step), str(self.store.root), device, self.threads, os.getcwd())

    def _reserved(self, kind: str) -> int | None:
        """Bytes to ask for: what is known of the kind, never more than the largest node has."""
        known = self._memory.get(kind)
        largest = max((node.get("memory", 0) for node in nodes()), default=0)
        return min(known, int(largest)) or None if known else None

    def _room(self) -> int:
        """How many steps the cluster can do at once, looked up now and then."""
        now = time.monotonic()
        if now - self._counted >= RESOURCES_EVERY:
            connect(self.threads, self.machines.workers, self.machines.kind)
            self._counted, self._slots = now, slots(self.threads)
        return min(self._slots, self.limit or self._slots)

    def listen(self, agenda: Agenda) -> None:
        """Waits for an answer (half a second at most) and acts on it."""
        import ray

        if self._running:
            ready, _ = ray.wait(list(self._running), timeout=0.5)
        else:  # everything that is left is being done by another run
            ready = []
            time.sleep(0.2)
        for reference in ready:
            step = self._running.pop(reference)
            message = self._answer(reference, step)
            if message is None:
                agenda.postpone(step)
                self.display.busy(step)
                continue
            self.act(step, message, agenda)
            self._measure(step)
        if self._asked_to_stop:
            raise Interrupted(self._asked_to_stop)
        self._show_progress()
        self.display.tick()

    def _answer(self, reference: Any, step: Step) -> tuple[Any, ...] | None:
        """What the task said; None when its worker was lost and the step is to be begun again."""
        import ray

        try:
            answer: tuple[Any, ...] = ray.get(reference)
            return answer
        except (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError) as error:
            words = f"a worker could not begin: {_last_line(error)}. Is {ROOT} on every node?"
            return ("failed", words, str(error))
        except ray.exceptions.RayError as error:
            self._lost[step.fingerprint] += 1
            times = self._lost[step.fingerprint]
            words = f"the worker process died ({type(error).__name__}: {_first_line(error)})"
            if times > RETRIES:
                return ("failed", f"{words}, {times} times", str(error))
            self.display.note(f"LOST {step.label}: {words}; begun again from its checkpoint ({times} of {RETRIES})")
            return None

    def _measure(self, step: Step) -> None:
        """Remembers what a finished step took."""
        costs = self.outcome.costs.get(step.fingerprint)
        if costs is None:
            return
        peak = float(costs["peak_memory_mb"])
        self._memory[step.kind] = max(self._memory.get(step.kind, 0), int(peak * MEGABYTE))
        self.outcome.peak_memory_mb = max(self.outcome.peak_memory_mb, memory_mb(None) + peak)

    def _show_progress(self) -> None:
        """Reads how far the running steps are; a file that is not there or half seen says nothing."""
        if time.monotonic() - self._looked < PROGRESS_EVERY:
            return
        self._looked = time.monotonic()
        for step in self._running.values():
            try:
                done, total, note = json.loads((self.store.scratch(step.fingerprint) / PROGRESS).read_text())
            except (OSError, ValueError):
                continue
            if self._told.get(step.fingerprint) != (done, total):
                self._told[step.fingerprint] = (done, total)
                self.display.update(step, done, total, note)

    def interrupt(self, words: str) -> None:
        """Only notes it: an exception in the middle of a call of Ray's might be lost."""
        self._asked_to_stop = words

    def close(self) -> None:
        """Nothing is left to do: `stop` ends the connection."""

    def stop(self) -> None:
        """Cancels what is at work (a step then lets go of its lock) and leaves the cluster; one that was started here
        ends.
        """
        import ray

        if not ray.is_initialized():
            return
        left = list(self._running)
        for force in (False, True):
            for reference in left:
                ray.cancel(reference, force=force)
            if left and not force:
                _, left = ray.wait(left, num_returns=len(left), timeout=STOP_PATIENCE)
        self._running.clear()
        ray.shutdown()


# ---- on a worker ----


def do(task: Task, store: str, device: str, threads: int, folder: str) -> tuple[Any, ...]:
    """The body of a Ray task: one attempt at a step, where relative paths mean what they mean for the run."""
    for path in (folder, store):
        if not os.path.isdir(path):
            where = f"{socket.gethostname()} has no folder {path}"
            return ("failed", f"{where}: repository, data and store must lie at the same paths on every node", "")
    os.chdir(folder)
    shelf = _shelf(store)
    return attempt(task, shelf, device, threads, _Reporter(shelf.scratch(task.fingerprint) / PROGRESS))


@cache
def _shelf(store: str) -> Store:
    """One Store for the life of a worker: it remembers which files it has read and found right."""
    return Store(Path(store), make=False)


class _Reporter:
    """Leaves how far a step is in its scratch folder, for the engine to read."""

    def __init__(self, path: Path) -> None:
        self._path, self._last = path, 0.0

    def __call__(self, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if now - self._last < PROGRESS_EVERY:
            return
        self._last = now
        aside = self._path.with_suffix(".new")
        aside.write_text(json.dumps([done, total, note]), encoding="utf-8")
        aside.replace(self._path)


# ---- the cluster ----


def connect(threads: int, workers: int, kind: str) -> None:
    """Joins the cluster that RAY_ADDRESS names, or starts one of this machine with room for `workers` steps; nothing
    happens when that was done. Raises UsageError when no cluster answers.
    """
    address = os.environ.get("RAY_ADDRESS")
    os.environ.update(SILENT)
    if not address and "ray" not in sys.modules:  # Ray reads all this when it is imported
        _lock_up()
    import ray

    if ray.is_initialized():
        return
    variables = {**SILENT, **{name: str(threads) for name in THREAD_VARIABLES}, "PYTHONPATH": _python_path()}
    common: dict[str, Any] = {
        "runtime_env": {"env_vars": variables},
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if not address:
        gpus = len(find_devices("cuda")[1]) if kind == "cuda" else 0
        ray.init(
            address="local",
            num_cpus=workers * threads,
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            **common,
        )
        return
    if address.startswith("ray://"):
        raise UsageError(f"RAY_ADDRESS is {address}: Ray Client is not used. Start the run on a machine of the cluster")
    _check_answers(address)
    try:
        ray.init(address=address, **common)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"RAY_ADDRESS is {address}: no Ray cluster to work with ({_last_line(error)})") from None


def _check_answers(address: str) -> None:
    """Ray itself tries for minutes, deaf to Ctrl-C, before it says that nobody is there. Raises UsageError."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():  # "auto": it looks on this machine
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_PATIENCE).close()
    except (OSError, OverflowError) as error:
        words = "start the cluster (`ray start --head`), or unset RAY_ADDRESS for one of this machine alone"
        raise UsageError(f"RAY_ADDRESS is {address}: no Ray cluster answers there ({error}): {words}") from None


def _lock_up() -> None:
    """A cluster that is started here listens on this machine alone, and obeys those alone who hold its token."""
    os.environ[LOOPBACK] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def cluster_machines(execution: Execution) -> tuple[str, tuple[str, ...], int] | None:
    """Kind of device, devices and steps at once of the cluster that RAY_ADDRESS names; None without one: then it is
    this machine. Raises UsageError when the cluster cannot do a single step.
    """
    if not os.environ.get("RAY_ADDRESS"):
        return None
    threads = execution.threads
    connect(threads, 1, "cpu")
    gpus = int(sum(node.get("GPU", 0) for node in nodes()))
    if execution.device == "cuda" and not gpus:
        raise UsageError("--device cuda: no node of the Ray cluster has a GPU. Use --device cpu")
    found = slots(threads)
    if not found:
        raise UsageError(f"execution.threads is {threads}: no node of the Ray cluster has so many CPUs")
    kind = "cpu" if execution.device == "cpu" or not gpus else "cuda"
    devices = ("cpu",) if kind == "cpu" else tuple(f"cuda:{k}" for k in range(gpus))
    return kind, devices, found if execution.workers == "auto" else execution.workers


def nodes() -> list[dict[str, float]]:
    """What each living node has: {"CPU": ..., "GPU": ..., "memory": bytes}."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def slots(threads: int) -> int:
    """Steps of so many threads that the nodes have CPUs for, all at once."""
    return sum(int(node.get("CPU", 0) // threads) for node in nodes())


def needs_gpu(step: Step) -> bool:
    """Whether the step's networks run on a GPU; decoding and scoring leave the GPUs to others."""
    machine = step.config.get("machine")
    return bool(machine and machine.get("device") == "cuda")


def _python_path() -> str:
    """The repository's root first: on every node `bench` and `datasets` are ours."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0].strip()


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[-1].strip()
