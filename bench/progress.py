"""What a person sees while steps run: a bar with the time left on a terminal, plain lines elsewhere, or
nothing.

Every line also goes to the run's log.txt, with the seconds since the start.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from bench.graph import Step

PLAIN_EVERY = 20.0  # seconds between two plain lines about the same unfinished step
BRIEF = 2.0  # seconds: shorter steps share a line at most this often; the log has them all


def duration(seconds: float) -> str:
    """ "42 s", "3 min 20 s", "2 h 05 min": a time a person can read."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def first_line(error: str) -> str:
    """The head of an error; a longer one is in the log."""
    lines = error.splitlines() or ["no message"]
    return lines[0] if len(lines) == 1 else f"{lines[0]} ... ({len(lines)} lines, see log.txt)"


class Display:
    """Counts what is done and says it in plain lines.

    Args:
        workers: steps done at once, for the time left.
        quiet: only failures are shown.
        log: every line is also appended to this file (None: nowhere).
        stream: where lines go.
    """

    def __init__(
        self, workers: int, quiet: bool = False, log: Path | None = None, stream: TextIO | None = None
    ) -> None:
        self.workers, self.quiet, self.stream = workers, quiet, stream or sys.stderr
        self._log: TextIO | None = log.open("a", encoding="utf-8") if log else None
        self._began = time.monotonic()
        self._costs: dict[str, float] = {}
        self._share: dict[str, float] = {}  # of running steps: how much is done, 0 to 1
        self._started: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._shown = 0.0  # when the last line was
        self._estimated = self._spent = 0.0  # CPU seconds of finished steps: as planned, as measured
        self.total = self.finished = self.reused = 0

    def start(self, steps: Sequence[Step], reused: Collection[str]) -> None:
        """A graph starts; steps named in `reused` are in the store already."""
        self._began = time.monotonic()
        self.total, self.reused = len(steps), len(reused)
        self._costs = {s.fingerprint: max(s.cost, 0.01) for s in steps if s.fingerprint not in reused}
        self.finished = self.reused
        if self._costs:
            kept = f" ({self.reused} already done)" if self.reused else ""
            self.say(f"{self.total} steps{kept}, about {duration(self.left())} on {self.workers} workers")

    def begin(self, step: Step) -> None:
        """A worker starts a step."""
        self._share[step.fingerprint] = 0.0
        self._said[step.fingerprint] = self._started[step.fingerprint] = time.monotonic()

    def update(self, step: Step, done: int, total: int, note: str) -> None:
        """A running step says how far it is."""
        self._share[step.fingerprint] = min(1.0, done / total) if total else 0.0
        if time.monotonic() - self._said[step.fingerprint] >= PLAIN_EVERY:
            self._said[step.fingerprint] = time.monotonic()
            self.say(f"[{self.finished}/{self.total}] {step.label}: {done}/{total} {note}".rstrip())

    def finish(self, step: Step, costs: Mapping[str, Any] | None) -> None:
        """A step is done; costs is None when another run did it."""
        self.finished += 1
        self._share.pop(step.fingerprint, None)
        planned = self._costs.pop(step.fingerprint, 0.0)
        if costs is None:
            self.say(f"[{self.finished}/{self.total}] {step.label}: done by another run")
            return
        self._estimated += planned
        self._spent += float(costs["cpu_seconds"])
        left = f", about {duration(self.left())} left" if self._costs else ""
        line = f"[{self.finished}/{self.total}] {step.label}: {duration(costs['seconds'])}{left}"
        brief = costs["seconds"] < BRIEF and self._costs and time.monotonic() - self._shown < BRIEF
        (self.log if brief else self.say)(line)

    def busy(self, step: Step) -> None:
        """Another run is doing this very step."""
        self._share.pop(step.fingerprint, None)

    def reopen(self, step: Step, words: str) -> None:
        """A step that was done has to be done again."""
        self.finished -= 1
        self._costs[step.fingerprint] = max(step.cost, 0.01)
        self.note(words)

    def failed(self, step: Step, error: str, details: str) -> None:
        """A step failed."""
        self._share.pop(step.fingerprint, None)
        self._costs.pop(step.fingerprint, None)
        self.note(f"FAILED {step.label} ({step.kind} {step.fingerprint[:12]}): {first_line(error)}")
        self.log(details)

    def left(self) -> float:
        """Rough seconds until the end: planned CPU seconds, corrected by what finished steps really took."""
        correction = (self._spent + 5.0) / (self._estimated + 5.0)
        rest = sum(cost * (1 - self._share.get(f, 0.0)) for f, cost in self._costs.items())
        return rest * correction / max(1, self.workers)

    def say(self, line: str) -> None:
        """A line for a person, unless quiet."""
        self.log(line)
        if not self.quiet:
            self.show(line)

    def note(self, line: str) -> None:
        """A line that is shown even when quiet."""
        self.log(line)
        self.show(line)

    def show(self, line: str) -> None:
        """Writes a line to the stream."""
        self._shown = time.monotonic()
        print(line, file=self.stream, flush=True)

    def log(self, text: str) -> None:
        """Appends to the run's log only; a log that cannot be written (a full disk) stops no run."""
        if not (self._log and text):
            return
        try:
            self._log.write(f"{time.monotonic() - self._began:9.1f}  {text.rstrip()}\n")
            self._log.flush()
        except OSError:
            self._log = None

    def tick(self) -> None:
        """Called about twice a second."""

    def stop(self) -> None:
        """The steps have ended, whatever the reason."""


class BarDisplay(Display):
    """One bar for the whole run and a line per running step, for a terminal."""

    def __init__(self, workers: int, log: Path | None = None) -> None:
        super().__init__(workers, log=log)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[words]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._rows: dict[str, Any] = {}
        self._whole: Any = None

    def start(self, steps: Sequence[Step], reused: Collection[str]) -> None:
        """Draws the bar when there is something to do."""
        super().start(steps, reused)
        if self._costs:
            self._bar.start()
            self._whole = self._bar.add_task("all steps", total=sum(self._costs.values()), words="")

    def begin(self, step: Step) -> None:
        """Adds a row for the step."""
        super().begin(step)
        self._rows[step.fingerprint] = self._bar.add_task(f"  {step.label}", total=1.0, words="")

    def update(self, step: Step, done: int, total: int, note: str) -> None:
        """Moves the step's row."""
        self._said[step.fingerprint] = time.monotonic()  # the row shows it: no plain lines
        super().update(step, done, total, note)
        if step.fingerprint in self._rows:
            row = self._rows[step.fingerprint]
            self._bar.update(row, completed=self._share[step.fingerprint], words=f"{done}/{total} {note}")

    def finish(self, step: Step, costs: Mapping[str, Any] | None) -> None:
        """Removes the row."""
        super().finish(step, costs)
        self._drop(step)

    def busy(self, step: Step) -> None:
        """Removes the row."""
        super().busy(step)
        self._drop(step)

    def failed(self, step: Step, error: str, details: str) -> None:
        """Removes the row and prints the failure above the bar."""
        super().failed(step, error, details)
        self._drop(step)

    def show(self, line: str) -> None:
        """Prints above the bar; plain text, no markup."""
        self._bar.console.print(line, markup=False, highlight=False)

    def say(self, line: str) -> None:
        """Finished steps go to the log only: the bar shows them."""
        self.log(line)

    def _drop(self, step: Step) -> None:
        row = self._rows.pop(step.fingerprint, None)
        if row is not None:
            self._bar.remove_task(row)
        self.tick()

    def tick(self) -> None:
        """Moves the whole bar."""
        if self._whole is None:
            return
        rest = sum(cost * (1 - self._share.get(f, 0.0)) for f, cost in self._costs.items())
        total = self._bar.tasks[0].total or 0.0
        words = f"{self.finished}/{self.total} steps, about {duration(self.left())} left"
        self._bar.update(self._whole, completed=total - rest, words=words)

    def stop(self) -> None:
        """Takes the bar away."""
        self._bar.stop()


def display_for(workers: int, quiet: bool, log: Path | None) -> Display:
    """A bar on a terminal, plain lines elsewhere, only failures when quiet."""
    if quiet or not sys.stderr.isatty():
        return Display(workers, quiet=quiet, log=log)
    return BarDisplay(workers, log=log)
