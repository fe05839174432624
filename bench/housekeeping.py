"""What can leave a store, and why the rest stays: damaged artifacts and leftovers of killed runs go, and on request
whatever no run refers to.

A run is known by its folder: runs register with their store, others are named. To let a run's artifacts go, delete
its folder; one that cannot be reached (its disk is not mounted) keeps them. Checkpoints of a step that a run has not
finished stay, however old.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.locks import Busy
from bench.plan_table import size
from bench.store import Store, folder_bytes


@dataclass(frozen=True)
class Uses:
    """Which artifacts are spoken for: by run folder, and what is said about folders that are not there."""

    by_run: dict[Path, set[str]]
    notes: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> set[str]:
        """Of all runs together."""
        return set().union(*self.by_run.values())


def collect(store: Store, runs: Sequence[Path], unused: bool = False, dry_run: bool = False) -> Iterator[str]:
    """Cleans a store and says what went and what stayed; a line each, the sums at the end.

    Args:
        runs: run folders whose artifacts stay, beside those that registered with the store.
        unused: also remove complete artifacts that no run refers to.
        dry_run: only say what would go.

    Raises UsageError when `unused` is asked for and no run is known, or one that was named cannot be read:
    everything would look unused.
    """
    uses = find_uses(store, runs if unused else _readable(runs))
    if unused and not uses.by_run:
        raise UsageError("store gc --unused: no run folder was found, so everything would go. Name one with --keep")
    yield from uses.notes
    freed = count = 0
    kept = uses.fingerprints
    for kind, fingerprint in list(store.artifacts()):
        whole = store.has(kind, fingerprint)
        if whole and (not unused or fingerprint in kept):
            continue
        taken = _take(store, kind, fingerprint, whole, dry_run)
        if taken is None:
            yield f"kept {kind}/{fingerprint[:12]}: a step is at work on it"
            continue
        freed, count = freed + taken, count + 1
        yield f"{'unused' if whole else 'damaged'} {kind}/{fingerprint[:12]}  {size(taken)}"
    for line, taken in _leftovers(store, uses, dry_run):
        freed += taken
        yield line
    yield f"{count} artifacts {'would go' if dry_run else 'removed'}, {size(freed)} {'in all' if dry_run else 'freed'}"


def _take(store: Store, kind: str, fingerprint: str, whole: bool, dry_run: bool) -> int | None:
    """Bytes of an artifact that goes; None when a step holds its lock, or has made it whole in the meantime."""
    if dry_run:
        return folder_bytes(store.folder(kind, fingerprint))
    lock = store.lock(fingerprint)
    try:
        lock.acquire(blocking=False)
    except Busy:
        return None
    try:
        return store.remove(kind, fingerprint) if store.has(kind, fingerprint) == whole else None
    finally:
        lock.release()


def _leftovers(store: Store, uses: Uses, dry_run: bool) -> Iterator[tuple[str, int]]:
    """(line, bytes) of what killed runs left; checkpoints that a known run will go on from are kept."""
    kinds = [path.name for path in (store.root / "artifacts").glob("*")]
    for folder in list(store.leftovers()):
        name = folder.name.split(".")[0]
        done = any(store.has(kind, name) for kind in kinds)
        waiting = [] if done else [run for run, used in uses.by_run.items() if name in used]
        if folder.parent.name == "scratch" and waiting:
            yield f"kept scratch/{name[:12]}: checkpoints that {waiting[0]} will go on from", 0
            continue
        taken = folder_bytes(folder) if dry_run else store.remove_leftover(folder)
        if taken is not None:
            yield f"leftover {folder.parent.name}/{name[:12]}  {size(taken)}", taken


def find_uses(store: Store, named: Iterable[Path] = ()) -> Uses:
    """What every known run refers to. Raises UsageError for a named folder without a readable plan.json."""
    by_run, notes = {run: used_by([run]) for run in named}, []
    known = {run.absolute() for run in by_run}
    for run, used in store.runs().items():
        if run in known:
            continue
        if run.is_dir():
            by_run[run] = used
        elif run.parent.is_dir():
            notes.append(f"run {run} was deleted: what it alone used counts as unused")
        else:
            by_run[run] = used
            notes.append(f"run {run} cannot be reached: what it uses is kept")
    return Uses(by_run, tuple(notes))


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


def _readable(runs: Iterable[Path]) -> Iterator[Path]:
    for run in runs:
        try:
            used_by([run])
        except UsageError:
            continue
        yield run


def describe(store: Store) -> Iterator[str]:
    """What a store holds: a line per kind, the runs that use it, and what killed runs left."""
    uses = find_uses(store)
    kept, counts, used, taken = uses.fingerprints, Counter[str](), Counter[str](), Counter[str]()
    for kind, fingerprint in store.artifacts():
        counts[kind] += 1
        used[kind] += fingerprint in kept
        taken[kind] += folder_bytes(store.folder(kind, fingerprint))
    for kind, count in counts.items():
        yield f"{kind:<10} {count:>5} artifacts, {used[kind]:>5} of them used by a run, {size(taken[kind])}"
    for run in uses.by_run:
        yield f"run {run}"
    yield from uses.notes
    for name, what in (("scratch", "checkpoints of unfinished steps"), ("tmp", "half-written artifacts")):
        folders = list((store.root / name).glob("*"))
        if folders:
            yield f"{len(folders)} {what}, {size(sum(map(folder_bytes, folders)))}"
