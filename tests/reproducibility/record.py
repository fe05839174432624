"""`python -m tests.reproducibility.record`: runs the smoke profile on a cold store and writes what it gave.

Leaves in tests/reproducibility/recorded/: records.jsonl, claims.jsonl and curves.jsonl as the run wrote them,
artifacts.json (content of every artifact, by kind and label) and environment.json (what may change the last bits).
To be done again, and looked at, whenever a change is meant to change numbers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.environment import bits
from bench.store import MANIFEST
from tests.faults.digest import artifact_digests

ROOT = Path(__file__).resolve().parents[2]
RECORDED = Path(__file__).with_name("recorded")
FILES = ("records.jsonl", "claims.jsonl", "curves.jsonl")
QUESTIONS = tuple(sorted(str(path) for path in (ROOT / "ablations").glob("*.yaml")))


def run(
    folder: Path, questions: Sequence[str] = QUESTIONS, profile: str = "smoke", workers: int = 2, **variables: str
) -> Path:
    """A run in a folder of its own, on a cold store; returns the run folder. Raises RuntimeError when it fails."""
    out = folder / "run"
    options = ["--profile", profile, "--workers", str(workers), "--quiet"]
    places = ["--out", str(out), "--store", str(folder / "store")]
    command = [sys.executable, "-m", "bench", "run", *questions, *options, *places]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return out


def artifacts(folder: Path) -> dict[str, str]:
    """ "kind: label: file" -> sha256 of every artifact of a run made by `run`; labels outlive fingerprints."""
    store, found = folder / "store", {}
    for name, digest in artifact_digests(store).items():
        _, kind, fingerprint, *file = Path(name).parts
        label = json.loads((store / "artifacts" / kind / fingerprint / MANIFEST).read_text())["label"]
        found[f"{kind}: {label}: {'/'.join(file)}"] = digest
    return dict(sorted(found.items()))


def environment() -> dict[str, Any]:
    """What may change the last bits, and what it takes to make the recording again."""
    return {**bits(), "threads": "1", "command": "python -m tests.reproducibility.record"}


def main() -> int:
    """Records; returns the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="record-"))
    out = run(folder)
    RECORDED.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(out / name, RECORDED / name)
    for name, value in (("artifacts", artifacts(folder)), ("environment", environment())):
        (RECORDED / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder)
    print(f"{RECORDED}: {len((RECORDED / 'records.jsonl').read_text().splitlines())} records")
    return 0


if __name__ == "__main__":
    sys.exit(main())
