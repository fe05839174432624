"""What the body of a step is given: its config, its inputs, where to write and how to report progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.ranks import ALONE, Ranks

Progress = Callable[[int, int, str], None]


def _silent(done: int, total: int, note: str) -> None:
    """Reports to nobody (tests and direct calls of a step body)."""


@dataclass(frozen=True)
class Work:
    """One step at work.

    Args:
        config: what the step does; the keys of each kind are listed in `bench/plan.py`.
        inputs: role -> artifact folder of another step, or a file (weights).
        out: empty folder that becomes the artifact when the body returns.
        scratch: folder that survives a restart of this very step (checkpoints); removed once the step is
            done.
        device: "cpu" or "cuda:<n>".
        ranks: the processes that do the step together; all but the first have no `out` to write to.
    """

    config: Mapping[str, Any]
    inputs: Mapping[str, Path]
    out: Path
    scratch: Path
    device: str = "cpu"
    report: Progress = field(default=_silent, repr=False)
    ranks: Ranks = field(default=ALONE, repr=False)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Says that `done` of `total` units are finished."""
        self.report(done, total, note)

    def file(self, role: str, name: str) -> Path:
        """`name` inside the input's folder, or the input itself when it is a file."""
        path = self.inputs[role]
        return path / name if path.is_dir() else path
