"""Where finished work lives: one folder per fingerprint, written elsewhere first, renamed when whole.

Layout of a store (default `runs/store`):
    artifacts/<kind>/<fingerprint>/   the files of a step and manifest.json (size and sha256 of each file)
    scratch/<fingerprint>/            checkpoints of a step that is not finished
    tmp/<fingerprint>.<random>/       an artifact being written; worth nothing
    locks/<fingerprint>.lock          held by the one process that does the step
Nothing outside a complete artifact is ever read: the manifest is written last, everything is synced, and one
rename makes it visible. A step killed at any moment leaves its scratch folder and a temporary that the next
holder of its lock removes. Should a network file system lose the lock, two writers do the same work and the
first rename wins.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.errors import StoreError
from bench.fingerprint import sha256_file

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 1


@dataclass(frozen=True)
class Problem:
    """What `store check` found about one artifact."""

    kind: str
    fingerprint: str
    words: str


class Store:
    """A content-addressed store in one folder. Safe for many processes; cheap to ask (stat, no hashing)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, fingerprint: str) -> Path:
        """Where the artifact is, or would be."""
        return self.root / "artifacts" / kind / fingerprint

    def scratch(self, fingerprint: str) -> Path:
        """Where a step keeps its checkpoints until it is done."""
        return self.root / "scratch" / fingerprint

    def lock(self, fingerprint: str) -> FileLock:
        """The lock under which a step is done; not yet acquired."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{fingerprint}.lock")

    def manifest(self, kind: str, fingerprint: str) -> dict[str, Any] | None:
        """The manifest of a complete artifact, None if there is none: files are compared by size, not
        re-hashed.
        """
        folder = self.folder(kind, fingerprint)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            whole = (
                manifest["schema"] == MANIFEST_SCHEMA
                and manifest["fingerprint"] == fingerprint
                and all((folder / n).stat().st_size == f["size"] for n, f in manifest["files"].items())
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return manifest if whole else None

    def has(self, kind: str, fingerprint: str) -> bool:
        """Whether the artifact is there and complete."""
        return self.manifest(kind, fingerprint) is not None

    def begin(self, fingerprint: str) -> Path:
        """An empty temporary folder on the store's own file system. Call with the lock held.

        Removes what earlier, killed attempts at the same step left.
        """
        parent = self.root / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        for stale in parent.glob(f"{fingerprint}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        folder = parent / f"{fingerprint}.{secrets.token_hex(6)}"
        folder.mkdir()
        return folder

    def commit(
        self, kind: str, fingerprint: str, temporary: Path, about: Mapping[str, Any], costs: Mapping[str, Any]
    ) -> Path:
        """Turns a filled temporary folder into the artifact: hash, sync, rename. Returns the artifact's
        folder.

        Raises StoreError when the folder is empty or holds something that is not a plain file.
        """
        files = dict(_hash_files(temporary))
        if not files:
            raise StoreError(f"step {kind} left no files in its output folder")
        manifest = {
            "schema": MANIFEST_SCHEMA,
            "fingerprint": fingerprint,
            "kind": kind,
            **about,
            "files": files,
            "costs": dict(costs),
        }
        _write_synced(temporary / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
        for folder, _, _ in os.walk(temporary, topdown=False):
            _sync_folder(Path(folder))
        target = self.folder(kind, fingerprint)
        self._rename(kind, fingerprint, temporary, target)
        shutil.rmtree(self.scratch(fingerprint), ignore_errors=True)
        return target

    def _rename(self, kind: str, fingerprint: str, temporary: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not self.has(kind, fingerprint):
            self._discard(target)
        try:
            temporary.rename(target)
        except OSError:
            if not self.has(kind, fingerprint):
                raise
            self._discard(temporary)  # another writer was first: the same bytes are there
        _sync_folder(target.parent)

    def _discard(self, folder: Path) -> None:
        """Moves a folder out of sight in one rename, then removes it."""
        away = self.root / "tmp" / f"discarded.{secrets.token_hex(6)}"
        away.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def artifacts(self) -> Iterator[tuple[str, str]]:
        """(kind, fingerprint) of everything in the store, complete or not."""
        for kind in sorted((self.root / "artifacts").glob("*")):
            for folder in sorted(kind.iterdir()):
                yield kind.name, folder.name

    def check(self) -> tuple[int, list[Problem]]:
        """Re-hashes every file: (artifacts that are whole, what is wrong with the others)."""
        whole, problems = 0, []
        for kind, fingerprint in self.artifacts():
            words = self._damage(kind, fingerprint)
            if words is None:
                whole += 1
            else:
                problems.append(Problem(kind, fingerprint, words))
        return whole, problems

    def _damage(self, kind: str, fingerprint: str) -> str | None:
        manifest = self.manifest(kind, fingerprint)
        if manifest is None:
            return "no complete manifest, or files are missing or have another size"
        folder = self.folder(kind, fingerprint)
        bad = [n for n, f in manifest["files"].items() if sha256_file(folder / n) != f["sha256"]]
        return f"changed since it was written: {', '.join(bad)}" if bad else None

    def remove(self, kind: str, fingerprint: str) -> int:
        """Removes an artifact, whole or not; returns the bytes that it took."""
        folder = self.folder(kind, fingerprint)
        size = folder_bytes(folder)
        self._discard(folder)
        return size

    def remove_leftovers(self, older_than: float = 3600.0) -> int:
        """Removes temporaries and scratch folders that nobody has touched for `older_than` seconds; returns
        bytes.
        """
        freed = 0
        for folder in [*(self.root / "tmp").glob("*"), *(self.root / "scratch").glob("*")]:
            if time.time() - newest_change(folder) <= older_than:
                continue
            lock = self.lock(folder.name.split(".")[0])
            try:
                lock.acquire(blocking=False)
            except Timeout:  # a step is at work in it
                continue
            freed += folder_bytes(folder)
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
        return freed


def _hash_files(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(relative name, size and sha256) of every file under a folder, each synced to disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file():
            raise StoreError(f"{path} is not a plain file: an artifact holds plain files only")
        with path.open("rb") as file:
            os.fsync(file.fileno())
        name = path.relative_to(folder).as_posix()
        yield name, {"size": path.stat().st_size, "sha256": sha256_file(path)}


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def newest_change(folder: Path) -> float:
    """Latest modification of a folder or anything in it, seconds since the epoch."""
    try:
        return max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])
    except OSError:  # removed under our eyes by another run
        return time.time()
