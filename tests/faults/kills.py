"""Kills a run again and again at random moments, starts it anew until it ends, and compares what it left.

A moment is drawn in two parts: what should be going on (making data, training, sampling, ..., writing the report; so
that short steps get their share), and when after that began. Signals go to the whole process group (Ctrl-C, a batch
system), to the parent alone, or to one worker alone (the kernel when memory runs out).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.digest import Digests, artifact_digests, differences, run_digests

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {  # what a person calls it -> kinds of step
    "starting": (),
    "data making": ("world", "clips", "encode"),
    "training": ("train",),
    "sampling": ("sample", "baseline"),
    "extraction": ("features",),
    "scoring": ("score", "aggregate", "claims"),
    "reporting": (),
}
MOMENTS = (  # of one round, in the order in which a run gets there; a random tenth of them each time
    "starting", "data making", "data making", "data making", "training", "training", "sampling", "sampling",
    "extraction", "extraction", "scoring", "reporting", "reporting",
)  # fmt: skip
WAYS = tuple((name, whom) for whom in ("group", "parent", "worker") for name in ("SIGKILL", "SIGTERM", "SIGINT"))[
    :-1
]  # a worker ignores SIGINT: Ctrl-C is for the engine
PER_ROUND = 10
POLL = 0.01  # seconds
LONGEST = 900.0  # seconds that one start may take
MOST_STARTS = 25  # of one round


@dataclass(frozen=True)
class Kill:
    """One moment that was drawn, and what became of it."""

    aim: str
    name: str
    whom: str
    during: tuple[str, ...]  # kinds of the steps under way; ("starting",) or ("reporting",) without one
    hit: bool
    round: int


@dataclass
class Report:
    """What a whole session found."""

    kills: list[Kill] = field(default_factory=list)
    starts: int = 0
    rounds: int = 0
    differences: list[str] = field(default_factory=list)
    bad_rounds: set[int] = field(default_factory=set)
    leftovers: int = 0
    tracebacks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def identical(self) -> int:
        """Kills after which the run still ended as if there had been none."""
        return sum(kill.round not in self.bad_rounds for kill in self.kills)

    @property
    def hits(self) -> int:
        """Kills that found a running process."""
        return sum(kill.hit for kill in self.kills)

    def passed(self, least_hits: float = 0.8) -> bool:
        """Whether nothing differs, and enough kills hit a running process to say so."""
        return not self.differences and self.hits >= least_hits * len(self.kills)

    def lines(self) -> Iterator[str]:
        """The report as it is printed."""
        during = Counter(kind for kill in self.kills if kill.hit for kind in kill.during)
        ways = Counter(f"{kill.name} to the {kill.whom}" for kill in self.kills if kill.hit)
        yield f"{len(self.kills)} moments in {self.rounds} rounds, {self.hits} of them hit a running process"
        yield "under way when it was killed: " + ", ".join(f"{k} {n}" for k, n in sorted(during.items()))
        yield "signals: " + ", ".join(f"{k} {n}" for k, n in sorted(ways.items()))
        yield f"{self.starts} starts ({self.starts - self.rounds} restarts), {self.seconds:.0f} s in all"
        yield f"{self.leftovers} temporary or scratch folders left in the stores of finished runs"
        yield f"{len(self.tracebacks)} starts that printed a traceback"
        yield f"{len(self.differences)} differences"
        yield from (f"  {line}" for line in self.differences[:20])
        yield f"{self.identical} of {len(self.kills)} identical"


class Run:
    """One command that is started, killed and started again. `program`: the module that is run."""

    def __init__(self, folder: Path, words: Sequence[str], program: str = "bench") -> None:
        self.folder, self.store, self.out = folder, folder / "store", folder / "run"
        places = ["--out", str(self.out), "--store", str(self.store)]
        self.command = [sys.executable, "-m", program, "run", *words, *places]
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.log = folder / "output.txt"
        self.stale: set[Path] = set()  # temporaries of earlier starts
        self.done_before = 0

    def start(self) -> None:
        """Starts the command in a process group of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.stale, self.done_before = set((self.store / "tmp").glob("*")), self.done()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        self.starts += 1

    @property
    def started_work(self) -> bool:
        """Whether this start has done or begun a step."""
        return self.done() > self.done_before or bool(set((self.store / "tmp").glob("*")) - self.stale)

    @property
    def running(self) -> bool:
        """Whether the parent process is there."""
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds: float = LONGEST) -> int:
        """The exit code. Raises TimeoutError when it does not end."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.send("SIGKILL", "group")
            raise TimeoutError(f"{' '.join(self.command)} hangs, see {self.log}") from None

    def send(self, name: str, whom: str) -> bool:
        """Sends a signal; False when there was nobody to get it."""
        number = getattr(signal, name)
        if not self.running:
            return False
        assert self.process is not None
        try:
            if whom == "group":
                os.killpg(self.process.pid, number)
            else:
                pid = self.process.pid if whom == "parent" else _one_worker(self.process.pid)
                if pid is None:
                    return False
                os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def under_way(self, kinds: dict[str, str]) -> list[str]:
        """Kinds of the steps that are being done: each has a temporary folder. `kinds`: by fingerprint."""
        names = sorted(path.name.split(".")[0] for path in set((self.store / "tmp").glob("*")) - self.stale)
        return [kinds[name] for name in names if name in kinds]

    def done(self) -> int:
        """How many artifacts there are."""
        return sum(1 for _ in (self.store / "artifacts").glob("*/*"))


def _one_worker(parent: int) -> int | None:
    """A worker process of the engine, at random."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] != "Z" and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    return random.choice(found) if found else None


@dataclass(frozen=True)
class Undisturbed:
    """What a run leaves that nobody killed, and how long its steps take."""

    artifacts: Digests
    files: Digests
    kinds: dict[str, str]  # fingerprint -> kind
    seconds: dict[str, float]  # kind -> mean duration

    @staticmethod
    def of(run: Run) -> Undisturbed:
        """From a finished run."""
        steps = json.loads((run.out / "plan.json").read_text())["steps"]
        costs = [json.loads(line) for line in (run.out / "costs.jsonl").read_text().splitlines()]
        by_kind: dict[str, list[float]] = {}
        for line in costs:
            by_kind.setdefault(line["kind"], []).append(line["seconds"])
        return Undisturbed(
            artifact_digests(run.store),
            run_digests(run.out),
            {step["fingerprint"]: step["kind"] for step in steps},
            {kind: sum(found) / len(found) for kind, found in by_kind.items()},
        )


def moments(rng: random.Random) -> list[tuple[str, str, str]]:
    """The moments of one round: (what should be going on, signal, whom), in the order of a run."""
    chosen = sorted(rng.sample(range(len(MOMENTS)), PER_ROUND))
    ways = rng.sample(WAYS * 2, PER_ROUND)
    return [(MOMENTS[k], *way) for k, way in zip(chosen, ways, strict=True)]


def wait_for(run: Run, aim: str, truth: Undisturbed, rng: random.Random) -> None:
    """Waits until `aim` is going on, then for a random part of its time; returns early when the run ends."""
    kinds, found = GROUPS[aim], list[str]()
    while run.running:
        if aim == "starting":
            break
        if aim == "reporting" and run.done() == len(truth.kinds):
            break
        found = [kind for kind in run.under_way(truth.kinds) if kind in kinds]
        if found:
            break
        time.sleep(POLL)
    mean = {"starting": 4.0, "reporting": 3.0}.get(aim) or min(truth.seconds[kind] for kind in found or kinds)
    until = time.monotonic() + rng.uniform(0, 1.1 * mean)
    while run.running and time.monotonic() < until:
        time.sleep(min(POLL, max(0.0, until - time.monotonic())))


def session(
    folder: Path, words: Sequence[str], count: int = 50, seed: int = 0, program: str = "bench", say=print
) -> Report:
    """Kills runs of the command `count` times. `words`: specs and options, without --out and --store."""
    began, rng, report = time.monotonic(), random.Random(seed), Report()
    random.seed(seed)
    quiet = Run(folder / "undisturbed", words)
    quiet.start()
    if quiet.wait() != 0:
        raise RuntimeError(f"the undisturbed run failed, see {quiet.log}")
    truth = Undisturbed.of(quiet)
    say(f"undisturbed: {len(truth.kinds)} steps, {len(truth.artifacts)} files of artifacts")
    while len(report.kills) < count:
        report.rounds += 1
        one = Run(folder / f"round-{report.rounds}", words, program)
        for aim, name, whom in moments(rng)[: count - len(report.kills)]:
            if not one.running:
                if one.process is not None and one.process.returncode == 0:
                    break  # it came to its end: the other moments belong to the next round
                one.start()
            report.kills.append(_kill(one, aim, name, whom, truth, rng, report.rounds))
            if whom != "worker" or name == "SIGINT":
                one.wait()
        _end(one, report, truth)
        report.starts += one.starts
        say(
            f"round {report.rounds}: {one.starts} starts, {len(report.kills)} kills so far, "
            f"{'differs' if report.rounds in report.bad_rounds else 'identical'}"
        )
    report.seconds = time.monotonic() - began
    return report


def _kill(run: Run, aim: str, name: str, whom: str, truth: Undisturbed, rng: random.Random, round: int) -> Kill:
    wait_for(run, aim, truth, rng)
    while not run.running and run.process is not None and run.process.returncode != 0 and run.starts < MOST_STARTS:
        run.start()  # a worker that was killed before ended it early: on to the moment that was meant
        wait_for(run, aim, truth, rng)
    steps = run.under_way(truth.kinds)
    rest = "reporting" if run.done() == len(truth.kinds) else "between steps" if run.started_work else "starting"
    during = tuple(steps) or (rest,)
    hit = run.send(name, whom)
    if not hit and whom == "worker":  # no worker yet, or none any more: the whole group then
        whom, hit = "group", run.send(name, "group")
    return Kill(aim, name, whom, during, hit, round)


def _end(run: Run, report: Report, truth: Undisturbed) -> None:
    """Starts the command until it ends well, then compares."""
    number, found = report.rounds, []
    try:
        code = run.wait() if run.process is not None else 1
        while code != 0 and run.starts < MOST_STARTS:
            run.start()
            code = run.wait()
        found = [f"exit code {code} in the end, see {run.log}"] if code else []
    except TimeoutError as error:
        found = [str(error)]
    found += differences(truth.artifacts, artifact_digests(run.store))
    found += differences(truth.files, run_digests(run.out))
    if found:
        report.bad_rounds.add(number)
        report.differences += [f"round {number}: {line}" for line in found]
    report.leftovers += sum(1 for name in ("tmp", "scratch") for _ in (run.store / name).glob("*"))
    text = run.log.read_text(errors="replace")
    report.tracebacks += ["traceback"] * text.count("Traceback (most recent call last)")
