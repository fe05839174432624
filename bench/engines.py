"""Which engine does the steps of a run, and with what? `--engine`, as devices, a number of workers and an `Engine`.

Whichever it is, the plan, the fingerprints and the bytes of every artifact are the same; each reads and writes the
store alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bench.devices import find_devices
from bench.engine import Engine
from bench.environment import cpu_cores
from bench.errors import UsageError, known
from bench.local_engine import LocalEngine
from bench.profile import Execution
from bench.progress import Display
from bench.ranks import ALONE, Alone
from bench.store import Store

if TYPE_CHECKING:
    from bench.ranks_group import Group

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Machines:
    """What steps are spread over.

    Args:
        kind: "cpu" or "cuda": where networks run, a part of the fingerprints.
        devices: of this machine's workers.
        workers: steps done at once.
    """

    kind: str
    devices: tuple[str, ...]
    workers: int


def check_engine(name: str) -> None:
    """Raises UsageError for an engine that is not known, or whose package is not installed."""
    if name not in ENGINES:
        raise UsageError(f"--engine is '{name}'. {known(name, ENGINES)}")
    if name == "ray" and find_spec("ray") is None:
        raise UsageError("--engine ray: the package ray is not installed. Give: .venv/bin/pip install -e '.[ray]'")


def find_machines(engine: str, execution: Execution) -> Machines:
    """Devices and workers, as the profile and the machine (or the cluster) have them. Raises UsageError."""
    if engine == "ray":
        from bench.ray_engine import cluster_machines

        found = cluster_machines(execution)
        if found is not None:
            return Machines(*found)
    kind, devices = find_devices(execution.device)
    return Machines(kind, tuple(devices), workers_of(kind, devices, execution))


def workers_of(kind: str, devices: Sequence[str], execution: Execution) -> int:
    """Steps done at once on one machine: as asked, else one for each GPU or group of cores."""
    per_device = max(1, cpu_cores() // execution.threads) if kind == "cpu" else len(devices)
    return per_device if execution.workers == "auto" else execution.workers


def make_engine(
    name: str, store: Store, machines: Machines, execution: Execution, display: Display, ranks: Alone | Group = ALONE
) -> Engine:
    """The engine, not yet started. `ranks`: those that torchrun started, if it did."""
    if not isinstance(ranks, Alone):
        from bench.ranks_engine import RankEngine

        return RankEngine(store, machines.devices[0], execution.threads, display, ranks)
    if name == "ray":
        from bench.ray_engine import RayEngine

        limit = None if execution.workers == "auto" else execution.workers
        return RayEngine(store, machines, limit, execution.threads, display)
    return LocalEngine(store, machines.workers, machines.devices, execution.threads, display)
