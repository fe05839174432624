"""One run: from the command's words to a finished run folder.

read profile and specs -> plan -> do the steps that the store lacks -> assemble the run folder -> render the
report.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environment
from bench.assemble import Finished, assemble, is_assembled, mark_finished, run_identity, write_json
from bench.engine import Engine, Outcome
from bench.engines import Machines, find_machines, make_engine
from bench.errors import BenchError, Interrupted, UsageError
from bench.fingerprint import FileHashes
from bench.graph import Step
from bench.locks import Lock
from bench.measure import resolve_protocols
from bench.plan import Plan
from bench.planner import build_plan
from bench.profile import MEASURING, Profile, load_profile, model_preset, override
from bench.progress import Display, display_for, duration, first_line
from bench.ranks import ALONE, Alone, launched
from bench.sources import DATA_ROLES, WEIGHT_ROLES, assignments, find_sources, missing
from bench.spec import Question, load_questions
from bench.store import Store

if TYPE_CHECKING:
    from bench.ranks_group import Group
from bench.systems import with_systems

RUNS = Path("runs")


@dataclass(frozen=True)
class Options:
    """What the command line said; None is "as the profile says"."""

    specs: tuple[Path, ...]
    profile: str = "tiny"
    out: Path | None = None
    store: Path | None = None
    seeds: tuple[int, ...] | None = None
    samples: int | None = None
    data: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None
    engine: str = "local"
    quiet: bool = False
    command: str = ""

    @property
    def store_folder(self) -> Path:
        """Where the store is."""
        return self.store or RUNS / "store"

    @property
    def run_folder(self) -> Path:
        """Where the report goes: named after the question, or the profile when there are several."""
        one = f"{self.specs[0].stem}-" if len(self.specs) == 1 else ""
        return self.out or RUNS / f"{one}{Path(self.profile).stem}"


@dataclass(frozen=True)
class Prepared:
    """A plan and the machine that it was made for."""

    plan: Plan
    machines: Machines

    @property
    def devices(self) -> tuple[str, ...]:
        """Of the workers."""
        return self.machines.devices

    @property
    def workers(self) -> int:
        """Steps done at once."""
        return self.machines.workers


def prepare(options: Options, asked: Sequence[Question] = (), changed: Profile | None = None) -> Prepared:
    """Checks everything and builds the plan; no step runs. Raises UsageError with every error of a kind.

    `asked`: questions that are in no file, instead of the options' specs; `changed`: a profile that is in none.
    """
    errors: list[str] = []
    profile = changed or load_profile(options.profile)
    data: dict[str, Path] = {}
    weights: dict[str, Path] = {}
    try:
        data = assignments("--data", options.data, DATA_ROLES)
    except UsageError as error:
        errors += error.messages
    try:
        weights = assignments("--weights", options.weights, WEIGHT_ROLES, MEASURING)
    except UsageError as error:
        errors += error.messages
    try:
        profile = override(profile, options.samples, options.seeds, options.device, options.workers)
        questions = list(asked) or load_questions(
            options.specs, model_preset(profile.model), profile.sampling.config
        )
    except UsageError as error:
        errors += error.messages
    if errors:
        raise UsageError(errors)
    machines = find_machines(options.engine, profile.execution)
    hashes = FileHashes(options.store_folder / "file_hashes.json")
    sources = find_sources(profile, data, weights, hashes)
    sources = with_systems(sources, options.systems, questions, profile, hashes)
    (protocol,) = resolve_protocols((), profile, sources, sampled=True)
    plan = build_plan(questions, profile, sources, protocol, machines.kind)
    hashes.save()
    return Prepared(plan, machines)


def run(options: Options, as_json: bool = False) -> int:
    """Does a run, together with the other ranks where torchrun started it. Returns the exit code; raises UsageError
    before any work when something is wrong.
    """
    launch = launched()
    if launch is None:
        return _run(options, prepare(options), as_json)
    from bench.ranks_engine import together

    return together(launch, options, prepare, lambda prepared, ranks: _run(options, prepared, as_json, ranks))


def _run(options: Options, prepared: Prepared, as_json: bool, ranks: Alone | Group = ALONE) -> int:
    plan = prepared.plan
    absent = missing(plan.graph.missing_files())
    if absent:
        raise UsageError(absent)
    store, folder = Store(options.store_folder), options.run_folder
    finished = all(store.has(step.kind, step.fingerprint) for step in plan.graph)
    if finished and is_assembled(plan, folder):
        words = f"{folder / 'report.html'}: nothing to do, all {len(plan.graph)} steps are done"
        return _tell(options, words, as_json)
    if not finished:
        check_released(plan)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "plan.json", {"steps": plan.graph.to_json()})  # `store gc` keeps what a run has under way
    with contextlib.suppress(*((OSError, BenchError) if finished else ())):  # a finished store may be read-only
        store.register(folder, (step.fingerprint for step in plan.graph))
    display = display_for(max(prepared.workers, ranks.size), options.quiet, folder / "log.txt")
    engine = make_engine(options.engine, store, prepared.machines, plan.profile.execution, display, ranks)
    attempt = Attempt(options, prepared, engine, time.time(), ranks.size)
    try:
        engine.run(plan.graph)
    except Interrupted as stop:
        attempt.remember()
        display.note(f"{stop}. Finished steps are kept: give the same command again to go on")
        return stop.exit_code
    return _finish(attempt, store, display, as_json)


def check_released(plan: Plan) -> None:
    """Looks at the names in checkpoints that variants take their weights from. Raises UsageError for a misfit."""
    roles = {v.settings.weights for q in plan.questions for v in q.variants if v.settings.weights}
    given = [role for role in roles if plan.sources.has(role)]
    if not given:
        return
    from bench.parts import check_checkpoint

    for role in given:
        path = plan.sources.weight(role).path
        try:
            check_checkpoint(path, model_preset(plan.profile.model))
        except ValueError as error:
            raise UsageError(f"--weights {role}={path}: {error}") from None


def _finish(attempt: Attempt, store: Store, display: Display, as_json: bool) -> int:
    options, plan, outcome = attempt.options, attempt.prepared.plan, attempt.engine.outcome
    folder = options.run_folder
    with Lock(folder / ".lock"):
        attempt.remember()
        assemble(Finished(plan, store, folder, outcome.failed), attempt.costs(), attempt.environment())
        try:
            from reports.render import render

            render(folder)
        except ValueError as error:
            raise BenchError(f"{folder}: the report cannot be made: {error}") from None
        if outcome.complete:
            mark_finished(plan, folder)
    for line in failures(list(plan.graph), outcome):
        display.note(line)
    words = f"{folder / 'report.html'} ({duration(time.time() - attempt.started)})"
    _tell(options, words, as_json)
    return 0 if outcome.complete else 1


def _tell(options: Options, words: str, as_json: bool) -> int:
    """The result on stdout: the report's place, or all records."""
    if as_json:
        lines = (options.run_folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
        print("[" + ",\n ".join(lines) + "]")
    else:
        print(words)
    return 0


@dataclass(frozen=True)
class Attempt:
    """One start of a run; a run that was interrupted has several, whose costs and seconds add up."""

    options: Options
    prepared: Prepared
    engine: Engine
    started: float
    ranks: int = 1

    @property
    def _log(self) -> Path:
        return self.options.run_folder / "attempts.json"

    def earlier(self) -> list[dict[str, Any]]:
        """What earlier starts of the same run left, the newest last."""
        try:
            found = json.loads(self._log.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        same = isinstance(found, dict) and found.get("identity") == run_identity(self.prepared.plan)
        return list(found["attempts"]) if same else []

    def remember(self) -> None:
        """Adds this start to the run folder's list."""
        now = {
            "started": environment.moment(self.started),
            "finished": environment.moment(time.time()),
            "seconds": round(max(0.0, time.time() - self.started), 1),  # a clock that was set back gives none
            "peak_memory_mb": round(self.engine.outcome.peak_memory_mb, 1),
            "costs": self.engine.outcome.costs,
        }
        identity = run_identity(self.prepared.plan)
        write_json(self._log, {"identity": identity, "attempts": [*self.earlier(), now]})

    def costs(self) -> dict[str, dict[str, Any]]:
        """What the steps of this run cost, by fingerprint, over all starts."""
        return {f: c for attempt in self.earlier() for f, c in attempt["costs"].items()}

    def environment(self) -> dict[str, Any]:
        """environment.json, after `remember`."""
        profile, attempts = self.prepared.plan.profile, self.earlier()
        about = environment.describe(
            self.options.command, profile.name, profile.seeds, self.prepared.devices[0], self.prepared.workers
        )
        together = {"ranks": self.ranks} if self.ranks > 1 else {}
        return {
            **about,
            **together,
            "started": attempts[0]["started"],
            "finished": attempts[-1]["finished"],
            "seconds": round(sum(a["seconds"] for a in attempts), 1),
            "attempts": len(attempts),
            "peak_memory_mb": max(a["peak_memory_mb"] for a in attempts),
        }


def failures(steps: Sequence[Step], outcome: Outcome) -> list[str]:
    """What failed, equal errors together, what waits for it, and how to go on."""
    if outcome.complete:
        return []
    by_error: dict[str, list[str]] = {}
    for step in steps:
        if step.fingerprint in outcome.failed:
            by_error.setdefault(first_line(outcome.failed[step.fingerprint]), []).append(step.label)
    return [
        f"{len(outcome.failed)} steps failed, {len(outcome.skipped)} that need them did not run:",
        *(f"  {_some(labels)}: {error}" for error, labels in by_error.items()),
        "Everything that finished is kept. Mend the cause and give the same command again to go on.",
    ]


def _some(labels: Sequence[str], most: int = 4) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more
