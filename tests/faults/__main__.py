"""`python -m tests.faults`: 50 kills of a smoke run on cold stores; ends with "50 of 50 identical" or exits with 1."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.kills import ROOT, session

QUESTIONS = ("applications", "motion_text", "stages")  # between them every kind of step that the ten questions have


def main() -> int:
    """Runs a session; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("specs", nargs="*", help=f"question files [{', '.join(QUESTIONS)}]")
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program", default="bench", help="module to kill, or tests.faults.sabotaged")
    parser.add_argument("--folder", type=Path, help="work here, and keep it [a temporary folder]")
    told = parser.parse_args()
    specs = told.specs or [str(ROOT / "ablations" / f"{name}.yaml") for name in QUESTIONS]
    folder = told.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    words = [*specs, "--profile", told.profile, "--quiet"]
    report = session(folder, words, told.kills, told.seed, told.program, lambda line: print(line, flush=True))
    for line in report.lines():
        print(line)
    if report.passed() and not told.folder:
        shutil.rmtree(folder)
    else:
        print(f"kept: {folder}")
    return 0 if report.passed() else 1


if __name__ == "__main__":
    sys.exit(main())
