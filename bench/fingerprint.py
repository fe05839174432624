"""What makes two steps the same: sha256 of canonical JSON, and sha256 of files cached by (path, size, mtime).

Shapes: none. A digest is 64 hexadecimal characters; a file that is not there yet is "missing:<name>".
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
SETTLED = 2.0  # seconds: a file changed more recently may change again within one tick of its mtime


def canonical(value: object) -> bytes:
    """JSON with sorted keys, no spaces, no NaN: equal values give equal bytes. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: object) -> str:
    """sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def step_fingerprint(kind: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The name under which a step's artifact is stored: everything that can change its bytes."""
    return digest({"kind": kind, "version": version, "config": config, "inputs": inputs})


def placeholder(name: str) -> str:
    """Stands for the digest of a file that is not there yet."""
    return f"missing:{name}"


def is_placeholder(value: str) -> bool:
    """Whether a digest stands for a file that is not there."""
    return value.startswith("missing:")


def sha256_file(path: Path) -> str:
    """sha256 of a file's content, read in pieces."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            found.update(piece)
    return found.hexdigest()


class FileHashes:
    """sha256 of files, remembered by (path, size, mtime) in one JSON file (`cache`, None: only in memory)."""

    def __init__(self, cache: Path | None = None) -> None:
        self.cache = cache
        self._known: dict[str, list[Any]] = self._load()
        self._dirty = False

    def _load(self) -> dict[str, list[Any]]:
        try:
            loaded = json.loads(self.cache.read_text()) if self.cache else {}
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def sha256(self, path: Path) -> str:
        """The digest of a file; hashes it only when its size or mtime is new."""
        stat = path.stat()
        key, seen = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        entry = self._known.get(key)
        if isinstance(entry, list) and entry[:2] == seen and len(entry) == 3:
            return str(entry[2])
        value = sha256_file(path)
        if time.time() - stat.st_mtime > SETTLED:
            self._known[key] = [*seen, value]
            self._dirty = True
        return value

    def listed(self, path: Path) -> str:
        """Digest of a file's size and mtime, for data too large to read: a changed file is seen, a copy is
        not equal.
        """
        stat = path.stat()
        return digest([stat.st_size, stat.st_mtime_ns])

    def save(self) -> None:
        """Writes the cache, if it changed; a reader never sees half of it. Where it cannot be written (a store that
        is read-only or full) files are hashed again the next time.
        """
        if not (self.cache and self._dirty):
            return
        temporary = self.cache.with_name(f"{self.cache.name}.{os.getpid()}.tmp")
        try:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known))
            temporary.replace(self.cache)
            self._dirty = False
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
