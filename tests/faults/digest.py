"""Is one run the same as another? Content of every artifact and of every file of the run folder that may not differ."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.store import MANIFEST

DETERMINISTIC = ("records.jsonl", "claims.jsonl", "curves.jsonl", "health.json", "spec.json", "table.csv")
Digests = dict[str, str]  # name -> sha256


def artifact_digests(store: Path) -> Digests:
    """Every file of every artifact; not the manifests, which hold seconds and memory."""
    files = (path for path in (store / "artifacts").rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(store).as_posix(): _sha256(path) for path in files}


def run_digests(folder: Path) -> Digests:
    """The files of a run folder that an equal run writes byte for byte."""
    named = [folder / name for name in DETERMINISTIC]
    samples = [path for path in (folder / "samples").rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in (*named, *samples)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "absent"


def differences(expected: Digests, found: Digests) -> list[str]:
    """A line per file that differs, is missing or is too much."""
    lines = [f"missing {name}" for name in expected if name not in found]
    lines += [f"not expected {name}" for name in found if name not in expected]
    return lines + [f"differs {name}" for name in expected if name in found and found[name] != expected[name]]
