"""What do the scoring commands share? A profile, a store, a machine, and how a graph of steps gets done in them."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import environment
from bench.assemble import write_json
from bench.devices import find_devices
from bench.engine import Outcome
from bench.environment import cpu_cores
from bench.errors import BenchError, UsageError
from bench.fingerprint import FileHashes
from bench.graph import Graph, Step
from bench.local_engine import LocalEngine
from bench.profile import Profile, load_profile, override
from bench.progress import display_for
from bench.sources import missing
from bench.store import Store

RUNS = Path("runs")


@dataclass(frozen=True)
class Common:
    """What the command line said; None is "as the profile says"."""

    profile: str = "tiny"
    store: Path | None = None
    samples: int | None = None
    weights: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None
    quiet: bool = False
    command: str = ""


@dataclass
class Setting:
    """A profile, where artifacts are, and the machine."""

    common: Common
    profile: Profile
    store: Store
    hashes: FileHashes
    device: str
    devices: tuple[str, ...]
    workers: int
    began: float = field(default_factory=time.time)

    @staticmethod
    def of(common: Common, profile: Profile | None = None) -> Setting:
        """Checks the options; `profile` stands in for the one that they name. Raises UsageError."""
        chosen = override(profile or load_profile(common.profile), common.samples, None, common.device, common.workers)
        device, devices = find_devices(chosen.execution.device)
        per_device = max(1, cpu_cores() // chosen.execution.threads) if device == "cpu" else len(devices)
        wanted = chosen.execution.workers
        store = Store(common.store or RUNS / "store")
        hashes = FileHashes(store.root / "file_hashes.json")
        workers = per_device if wanted == "auto" else wanted
        return Setting(common, chosen, store, hashes, device, tuple(devices), workers)

    def artifact(self, step: Step) -> Path | None:
        """The folder of a step's artifact, None if it is not there."""
        done = self.store.has(step.kind, step.fingerprint)
        return self.store.folder(step.kind, step.fingerprint) if done else None

    def do(self, graph: Graph, folder: Path | None) -> Outcome:
        """Does the steps that the store lacks; `folder` is the run that needs them (None: needed this once).

        Raises UsageError when a file of weights is not there, Interrupted when asked to stop.
        """
        absent = missing(graph.missing_files())
        if absent:
            raise UsageError(absent)
        self.hashes.save()
        if folder is not None:
            self._announce(graph, folder)
        display = display_for(self.workers, self.common.quiet, folder / "log.txt" if folder else None)
        engine = LocalEngine(self.store, self.workers, self.devices, self.profile.execution.threads, display)
        return engine.run(graph)

    def _announce(self, graph: Graph, folder: Path) -> None:
        """Tells the store whose artifacts these are, so that `store gc` keeps them."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "plan.json", {"steps": graph.to_json()})
        finished = all(self.store.has(step.kind, step.fingerprint) for step in graph)
        with contextlib.suppress(*((OSError, BenchError) if finished else ())):  # a finished store may be read-only
            self.store.register(folder, (step.fingerprint for step in graph))

    def environment(self, outcome: Outcome) -> dict[str, Any]:
        """environment.json: on what it ran, and when."""
        about = environment.describe(self.common.command, self.profile.name, (), self.devices[0], self.workers)
        return {
            **about,
            "started": environment.moment(self.began),
            "finished": environment.moment(time.time()),
            "seconds": round(time.time() - self.began, 1),
            "attempts": 1,
            "peak_memory_mb": round(outcome.peak_memory_mb, 1),
        }

    def cost_lines(self, graph: Graph, outcome: Outcome) -> list[dict[str, Any]]:
        """costs.jsonl: what each step cost, now or when its artifact was made."""
        lines = []
        for step in graph:
            own = outcome.costs.get(step.fingerprint)
            manifest = self.store.manifest(step.kind, step.fingerprint)
            spent = own if own is not None else manifest["costs"] if manifest else None
            if spent is not None:
                named = {"label": step.label, "kind": step.kind, "fingerprint": step.fingerprint}
                lines.append({**named, **spent, "reused": own is None})
        return lines
