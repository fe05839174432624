"""Where finished work lives: one folder per fingerprint, written elsewhere first, renamed when whole.

Layout of a store (default `runs/store`):
    artifacts/<kind>/<fingerprint>/   the files of a step and manifest.json (size, time and sha256 of each file)
    scratch/<fingerprint>/            checkpoints of a step that is not finished
    tmp/<fingerprint>.<who>.<random>/ an artifact being written; worth nothing
    locks/<fingerprint>.lock          held by the one process that does the step (see `bench/locks.py`)
    runs/<name>.json                  which run uses which artifacts, so that cleaning knows
Nothing outside a complete artifact is ever read: the manifest is written last, everything is synced, and one rename
makes it visible. A step killed at any moment leaves its scratch folder and a temporary that the next holder of its
lock removes. A file is looked at three times: by size and time whenever its artifact is asked for (a stat; its content
only when the time differs), by content before another step reads it, and by content in `check`. Should a network file
system lose a lock, two writers do the same work and the first rename wins.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.fingerprint import digest, sha256_file
from bench.locks import Busy, Lock, place

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 1
LEFT_ALONE = 3600.0  # seconds without a change after which what a killed process left may be removed


@dataclass(frozen=True)
class Problem:
    """What `store check` found about one artifact."""

    kind: str
    fingerprint: str
    words: str


class Store:
    """A content-addressed store in one folder. Safe for many processes; cheap to ask (stat, no hashing).

    Args:
        root: its folder.
        make: whether the folder may be made. Workers may not: one that vanished (a share that is no longer mounted)
            must not be filled again in its place.
    """

    def __init__(self, root: Path, make: bool = True) -> None:
        self.root, self.make = root, make
        self._sound: set[tuple[str, int, int]] = set()  # files whose content was found right: path, size, time

    def folder(self, kind: str, fingerprint: str) -> Path:
        """Where the artifact is, or would be."""
        return self.root / "artifacts" / kind / fingerprint

    def scratch(self, fingerprint: str) -> Path:
        """Where a step keeps its checkpoints until it is done."""
        return self.root / "scratch" / fingerprint

    def lock(self, fingerprint: str) -> Lock:
        """The lock under which a step is done; not yet acquired."""
        return Lock(self.part("locks") / f"{fingerprint}.lock")

    def part(self, name: str) -> Path:
        """A folder of the store, made if it is not there. Raises StoreError when the whole store has vanished."""
        folder = self.root / name
        try:
            folder.mkdir(parents=self.make, exist_ok=True)
        except FileNotFoundError:
            raise StoreError(
                f"the store {self.root} is not there any more (removed, or its disk was taken away). Bring it back, or "
                "give the same command again to start a new one"
            ) from None
        return folder

    # ---- what is there ----

    def manifest(self, kind: str, fingerprint: str) -> dict[str, Any] | None:
        """The manifest of a complete artifact, None if there is none. Files are compared by size and time; one
        whose time is another (a copied store, a file that was written to) by content.
        """
        return self._look(kind, fingerprint)[0]

    def _look(self, kind: str, fingerprint: str) -> tuple[dict[str, Any] | None, str]:
        """(the manifest of a complete artifact, "") or (None, what is wrong with it)."""
        folder = self.folder(kind, fingerprint)
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            whole = (
                manifest["schema"] == MANIFEST_SCHEMA
                and manifest["fingerprint"] == fingerprint
                and manifest.get("seal", _seal(manifest)) == _seal(manifest)
            )
            wrong = {name: _wrong(folder / name, told) for name, told in manifest["files"].items()} if whole else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None, f"its {MANIFEST} is missing or cannot be read"
        if not whole:
            return None, f"its {MANIFEST} was changed"
        listed = "; ".join(f"{name} {words}" for name, words in wrong.items() if words)
        return (None, listed) if listed else (manifest, "")

    def has(self, kind: str, fingerprint: str) -> bool:
        """Whether the artifact is there and complete."""
        return self.manifest(kind, fingerprint) is not None

    def damage(self, kind: str, fingerprint: str, only: Iterable[str] | None = None) -> str | None:
        """What is wrong with an artifact, by the content of its files (`only`: of these); None when it is sound.

        A file is read once by each Store, and again when its size or time changes.
        """
        manifest, words = self._look(kind, fingerprint)
        if manifest is None:
            return words
        folder, files = self.folder(kind, fingerprint), manifest["files"]
        names = files if only is None else [name for name in only if name in files]
        bad = [name for name in names if not self._is_sound(folder / name, files[name]["sha256"])]
        return f"changed since it was written: {', '.join(bad)}" if bad else None

    def _is_sound(self, path: Path, sha256: str) -> bool:
        try:
            stat = path.stat()
            key = (str(path), stat.st_size, stat.st_mtime_ns)
            if key not in self._sound:
                if sha256_file(path) != sha256:
                    return False
                self._sound.add(key)
        except OSError:
            return False
        return True

    def artifacts(self) -> Iterator[tuple[str, str]]:
        """(kind, fingerprint) of everything in the store, complete or not."""
        for kind in sorted((self.root / "artifacts").glob("*")):
            for folder in sorted(kind.iterdir()) if kind.is_dir() else ():
                yield kind.name, folder.name

    def check(self) -> tuple[int, list[Problem]]:
        """Re-hashes every file: (artifacts that are whole, what is wrong with the others)."""
        whole, problems = 0, []
        for kind, fingerprint in self.artifacts():
            words = Store(self.root).damage(kind, fingerprint)
            if words is None:
                whole += 1
            else:
                problems.append(Problem(kind, fingerprint, words))
        return whole, problems

    # ---- writing ----

    def begin(self, fingerprint: str) -> Path:
        """An empty temporary folder on the store's own file system. Call with the lock held.

        Removes what earlier, killed attempts at the same step on this machine left; another machine that lost its
        lock may still be at work in its own.
        """
        parent, who = self.part("tmp"), digest(place())[:12]
        for stale in parent.glob(f"{fingerprint}.{who}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        folder = parent / f"{fingerprint}.{who}.{secrets.token_hex(6)}"
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
        manifest["seal"] = _seal(manifest)
        _write_synced(temporary / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
        for folder, _, _ in os.walk(temporary, topdown=False):
            _sync_folder(Path(folder))
        target = self.folder(kind, fingerprint)
        self._rename(kind, fingerprint, temporary, target)
        shutil.rmtree(self.scratch(fingerprint), ignore_errors=True)
        return target

    def _rename(self, kind: str, fingerprint: str, temporary: Path, target: Path) -> None:
        (self.part("artifacts") / kind).mkdir(exist_ok=True)
        if target.exists() and not self.has(kind, fingerprint):
            self._discard(target)
        try:
            temporary.rename(target)
        except OSError:
            if not self.has(kind, fingerprint):
                raise
            self._discard(temporary)  # another writer was first: the same bytes are there
        _sync_folder(target.parent)

    def remove(self, kind: str, fingerprint: str) -> int:
        """Removes an artifact, whole or not; returns the bytes that it took. Call with the lock held."""
        folder = self.folder(kind, fingerprint)
        size = folder_bytes(folder)
        with contextlib.suppress(FileNotFoundError):
            self._discard(folder)
        return size

    def condemn(self, kind: str, fingerprint: str) -> None:
        """Removes an artifact whose content is not what was written, unless a step is at work on it."""
        lock = self.lock(fingerprint)
        with contextlib.suppress(Busy):
            lock.acquire(blocking=False)
            try:
                self.remove(kind, fingerprint)
            finally:
                lock.release()

    def _discard(self, folder: Path) -> None:
        """Moves a folder out of sight in one rename, then removes it."""
        away = self.part("tmp") / f"discarded.{secrets.token_hex(6)}"
        folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    # ---- cleaning ----

    def register(self, run: Path, fingerprints: Iterable[str]) -> None:
        """Notes that a run folder, finished or under way, uses these artifacts: `gc` keeps them while it exists."""
        place = str(run.absolute())
        told = {"folder": place, "fingerprints": sorted(fingerprints)}
        path = self.part("runs") / f"{digest(place)[:16]}.json"
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        _write_synced(temporary, json.dumps(told))
        temporary.replace(path)

    def runs(self) -> dict[Path, set[str]]:
        """Run folder -> fingerprints that it uses, of every run that was started on this store."""
        found = {}
        for path in sorted((self.root / "runs").glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                told = json.loads(path.read_text(encoding="utf-8"))
                found[Path(told["folder"])] = set(told["fingerprints"])
        return found

    def leftovers(self, older_than: float = LEFT_ALONE) -> Iterator[Path]:
        """Temporaries and scratch folders that nobody has touched for `older_than` seconds; one with a date in the
        future (the clock was set back) may be new, and is left alone.
        """
        for folder in [*(self.root / "tmp").glob("*"), *(self.root / "scratch").glob("*")]:
            if time.time() - newest_change(folder) > older_than:
                yield folder

    def remove_leftover(self, folder: Path) -> int | None:
        """Removes one of `leftovers` and returns its bytes; None when a step is at work in it."""
        lock = self.lock(folder.name.split(".")[0])
        try:
            lock.acquire(blocking=False)
        except Busy:
            return None
        try:
            size = folder_bytes(folder)
            shutil.rmtree(folder, ignore_errors=True)
            return size
        finally:
            lock.release()


def _seal(manifest: Mapping[str, Any]) -> str:
    """Digest of the manifest itself, so that a byte flipped in it is seen as well."""
    plain = json.loads(json.dumps(manifest))  # as it is read back
    return digest({key: value for key, value in plain.items() if key != "seal"})


def _wrong(path: Path, told: Mapping[str, Any]) -> str:
    """What is wrong with a file: "" when it has its size and time or, with another time, its content.

    A file that was only copied gets its time back, so that the next look is cheap again.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        return "is missing"
    if stat.st_size != told["size"]:
        return f"has {stat.st_size} bytes, {told['size']} were written"
    stamp = told.get("mtime_ns", stat.st_mtime_ns)
    if stat.st_mtime_ns != stamp:
        if sha256_file(path) != told["sha256"]:
            return "was written to"
        with contextlib.suppress(OSError):  # a store that can only be read
            os.utime(path, ns=(stat.st_atime_ns, stamp))
    return ""


def _hash_files(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(relative name, size, time and sha256) of every file under a folder, each synced to disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file():
            raise StoreError(f"{path} is not a plain file: an artifact holds plain files only")
        with path.open("rb") as file:
            os.fsync(file.fileno())
        stat = path.stat()
        told = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_file(path)}
        yield path.relative_to(folder).as_posix(), told


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
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # removed under our eyes by another run
            total += path.lstat().st_size if path.is_file() else 0
    return total


def newest_change(folder: Path) -> float:
    """Latest modification of a folder or anything in it, seconds since the epoch."""
    try:
        return max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])
    except OSError:  # removed under our eyes by another run
        return time.time()
