"""What can leave a store: damaged artifacts, leftovers of killed runs, and on request whatever no run refers
to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.errors import UsageError
from bench.plan_table import size
from bench.store import Store


def collect(store: Store, runs: Sequence[Path], unused: bool = False, dry_run: bool = False) -> Iterator[str]:
    """Cleans a store and says what went; a line each, the sum at the end.

    Args:
        runs: run folders whose artifacts stay when `unused` is asked for.
        unused: also remove complete artifacts that none of `runs` refers to.
        dry_run: only say what would go.

    Raises UsageError when `unused` is asked for and a run cannot be read: everything would look unused.
    """
    kept = used_by(runs) if unused else set()
    if unused and not runs:
        raise UsageError("store gc --unused: no run folder was found, so everything would go. Name one with --keep")
    freed = count = 0
    for kind, fingerprint in list(store.artifacts()):
        whole = store.has(kind, fingerprint)
        if whole and (not unused or fingerprint in kept):
            continue
        why = "unused" if whole else "damaged"
        taken = _bytes(store, kind, fingerprint) if dry_run else store.remove(kind, fingerprint)
        freed, count = freed + taken, count + 1
        yield f"{why} {kind}/{fingerprint[:12]}  {size(taken)}"
    if not dry_run:
        freed += store.remove_leftovers()
    yield f"{count} artifacts {'would go' if dry_run else 'removed'}, {size(freed)} freed"


def used_by(runs: Iterable[Path]) -> set[str]:
    """Fingerprints that run folders refer to. Raises UsageError for a folder without a readable plan.json."""
    found: set[str] = set()
    for run in runs:
        try:
            plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
            found |= {step["fingerprint"] for step in plan["steps"]}
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{run}: no readable plan.json, so what it uses is not known") from None
    return found


def _bytes(store: Store, kind: str, fingerprint: str) -> int:
    return sum(p.stat().st_size for p in store.folder(kind, fingerprint).rglob("*") if p.is_file())
