"""What is in a folder of tar shards, and how is one read? In order, sample by sample, checked against its manifest.

A folder holds `shards.json` (the manifest), `shard-000000.tar`, ... and beside each tar `shard-000000.json`, the list
of what is in it. A tar is a WebDataset: for each video `<key>.mp4` (the file as it was) and `<key>.json` (id, caption).
Memory holds the manifest, a line for each *shard*, and the sample at hand: nothing grows with the number of videos.

Security: tars are read as plain streams and grouped by the `webdataset` library; its own way of opening addresses
(`pipe:` runs a command) and of decoding samples (some suffixes are unpickled) is never used. Only the suffixes mp4 and
json are looked at. Nothing is extracted. Tars that lie in an object store are read through fsspec, where the manifest
names its address under "at", a scheme of SCHEMES, and the variable NETWORK allows connections: by default none is made.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from datasets.clip import Video
from datasets.files import parse_json, read_text

MANIFEST = "shards.json"
SCHEMA = 1
SCHEMES = ("s3", "gs", "abfs", "az", "https")  # object stores; fsspec needs the package of each (s3fs, gcsfs, ...)
NETWORK = "BENCH_SHARDS_NETWORK"  # "yes": tars may be read from the address in the manifest
SUFFIXES = {"mp4", "json"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.tar")
_HEX = re.compile(r"[0-9a-f]{64}")
_USTAR = slice(257, 262)  # where the first header of a tar says what it is


@dataclass(frozen=True)
class Shard:
    """One tar: its file name, how many samples it holds, its bytes and their sha256."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Shards:
    """A folder of shards. `digest`: of everything that training on it depends on."""

    root: Path
    shards: tuple[Shard, ...]
    digest: str
    at: str | None = None  # where the tars lie, if that is not the folder
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(shard.samples for shard in self.shards)


@dataclass(frozen=True)
class Sample:
    """One video as it lies in a shard: its file's bytes, and what is known of it (`path` is its name in the shard)."""

    video: Video
    data: bytes


def is_shards(root: Path) -> bool:
    """Whether a folder holds shards."""
    return (root / MANIFEST).is_file()


def read_shards(root: Path) -> Shards:
    """Reads the manifest. Raises ValueError for one that is damaged, or that names what may not be read."""
    where = root / MANIFEST
    told = parse_json(read_text(where), str(where))
    if told.get("schema") != SCHEMA:
        raise ValueError(f"{where}: schema is {told.get('schema')!r}; known: {SCHEMA}")
    listed = told.get("shards")
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"{where}: it lists no shards")
    shards = tuple(_shard(entry, f"{where}: shards[{k}]") for k, entry in enumerate(listed))
    names = {shard.name for shard in shards}
    if len(names) < len(shards):
        raise ValueError(f"{where}: a shard is listed twice")
    if not sum(shard.samples for shard in shards):
        raise ValueError(f"{where}: there is no sample in any shard")
    digest = hashlib.sha256(json.dumps([[s.name, s.samples, s.sha256] for s in shards]).encode("ascii")).hexdigest()
    return Shards(root, shards, digest, _address(told.get("at"), str(where)), _notes(told))


def _shard(entry: object, where: str) -> Shard:
    if not isinstance(entry, dict) or set(entry) != {"name", "samples", "bytes", "sha256"}:
        raise ValueError(f"{where} is {repr(entry)[:200]}; name, samples, bytes and sha256 were expected")
    name, samples, size, sha256 = (entry[key] for key in ("name", "samples", "bytes", "sha256"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{where}.name is {name!r}; allowed: the name of a .tar file beside the manifest. {_REFUSED}")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (samples, size)):
        raise ValueError(f"{where}: samples is {samples!r}, bytes is {size!r}; whole numbers from 0 were expected")
    if not isinstance(sha256, str) or not _HEX.fullmatch(sha256):
        raise ValueError(f"{where}.sha256 is {sha256!r}; 64 hexadecimal digits were expected")
    return Shard(name, samples, size, sha256)


_ODD = (*" \n\r\t|;*?[]{}", "::")  # "::" chains a second address to the first, of any scheme
_REFUSED = "Addresses go under 'at'; pipe: is refused, since it would run a command"


def _address(value: object, where: str) -> str | None:
    """Where tars lie that are not in the folder. Raises ValueError for any scheme but those of object stores."""
    if value is None:
        return None
    scheme = value.partition("://")[0] if isinstance(value, str) else ""
    if not isinstance(value, str) or scheme not in SCHEMES or any(c in value for c in _ODD):
        raise ValueError(f"{where}: at is {value!r}; allowed: {', '.join(f'{s}://...' for s in SCHEMES)}. {_REFUSED}")
    return value.rstrip("/")


def _notes(told: dict[str, object]) -> tuple[str, ...]:
    """What a reader of a run must know of the set."""
    counts = {name: told.get(name, 0) for name in ("set_aside", "missing")}
    words = {"set_aside": "videos could not be read", "missing": "listed videos were absent"}
    return tuple(
        f"{count} {words[name]} when the shards were made (named in the .json beside each shard)"
        for name, count in counts.items()
        if isinstance(count, int) and count
    )


def read_samples(shards: Shards, shard: Shard) -> Iterator[Sample]:
    """The samples of one shard in order. Raises ValueError, at its end at latest, when it is not what was written."""
    from webdataset.tariterators import group_by_keys

    count = 0
    with open_shard(shards, shard) as file:
        stream = _Checked(file)
        try:
            _check_plain(stream, shard)
            for found in group_by_keys(_members(stream, shard), suffixes=SUFFIXES):
                yield _sample(found, shard)
                count += 1
        except (tarfile.TarError, OSError) as error:
            words = error.args[0] if error.args else error  # the library adds to the arguments
            raise ValueError(f"{_where(shards, shard)} cannot be read: {words}") from error
        stream.drain()
    if (count, stream.count, stream.sha256.hexdigest()) != (shard.samples, shard.bytes, shard.sha256):
        raise ValueError(
            f"{_where(shards, shard)} is not what {MANIFEST} says ({count} samples, {stream.count} bytes; "
            f"{shard.samples} and {shard.bytes} were written): remove it and its .json and give `shards` again"
        )


def open_shard(shards: Shards, shard: Shard) -> BinaryIO:
    """The bytes of a shard, from the folder or, where the manifest says so and it is allowed, an object store.

    Raises ValueError when it is not there or connections are not allowed.
    """
    if shards.at is None:
        path = shards.root / shard.name
        if not path.is_file():
            raise ValueError(f"{path} is not there, {shards.root / MANIFEST} lists it")
        return path.open("rb")
    if os.environ.get(NETWORK) != "yes":
        raise ValueError(
            f"{shards.root / MANIFEST} says that the shards lie at {shards.at}, and no connection leaves this machine "
            f"unless {NETWORK}=yes is set. Set it, or mount the store and take 'at' out"
        )
    import fsspec

    try:
        return fsspec.open(f"{shards.at}/{shard.name}", "rb").open()
    except (OSError, ImportError, ValueError) as error:
        raise ValueError(f"{_where(shards, shard)} cannot be opened: {error}") from error


def _where(shards: Shards, shard: Shard) -> str:
    return f"{shards.at or shards.root}/{shard.name}"


class _Checked(io.RawIOBase):
    """Counts and hashes what passes through."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256, self.count = file, hashlib.sha256(), 0
        self.head = b""  # read ahead, not yet given out

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        """The next bytes, which `read` gives again."""
        self.head = self.head or self._take(size)
        return self.head

    def read(self, size: int = -1) -> bytes:
        """As a file's; at the end of the peeked bytes less may come than was asked for, so it asks on."""
        head, self.head = self.head[: size if size >= 0 else None], self.head[size:] if size >= 0 else b""
        return head if len(head) == size else head + self._take(size - len(head) if size >= 0 else -1)

    def _take(self, size: int) -> bytes:
        data = self.file.read(size)
        self.sha256.update(data)
        self.count += len(data)
        return data

    def drain(self) -> None:
        """Reads on to the end: padding counts as well."""
        while self.read(1 << 20):
            pass


def _check_plain(stream: _Checked, shard: Shard) -> None:
    """A compressed file would unpack to any size."""
    head = stream.peek(512)
    if shard.samples and head[_USTAR] != b"ustar":
        raise tarfile.ReadError("not a plain tar file")


def _members(stream: _Checked, shard: Shard) -> Iterator[dict[str, Any]]:
    """Name and bytes of each file of a tar, as webdataset's own iterator gives them; but never unpacked ("r|": that one
    looks for compression), and a file with holes is refused: both make a few bytes as many as they like.
    """
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # or it remembers every header
            if not member.isreg():
                continue
            if member.issparse():
                raise tarfile.ReadError(f"{member.name[:80]!r} is a file with holes, which `shards` never writes")
            content = tar.extractfile(member)
            assert content is not None, "it is a regular file"
            yield {"__url__": shard.name, "fname": member.name, "data": content.read()}


def _sample(found: dict[str, Any], shard: Shard) -> Sample:
    """A video and its caption. Raises ValueError for a sample that has neither."""
    where = f"{shard.name}: {found.get('__key__')}"
    if not set(found) >= SUFFIXES:
        raise ValueError(f"{where} has {sorted(SUFFIXES & set(found))}; mp4 and json were expected")
    try:
        told = parse_json(found["json"].decode("utf-8"), where)
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}.json is not UTF-8 text: {error}") from error
    name, caption = told.get("id"), told.get("caption")
    if not isinstance(name, str) or not name or not isinstance(caption, str):
        raise ValueError(f"{where}.json: id is {name!r}, caption is {caption!r}; text was expected")
    return Sample(Video(name, Path(f"{found['__key__']}.mp4"), (caption,) if caption else ()), found["mp4"])


def listed(shards: Shards) -> Iterator[tuple[str, int, str]]:
    """(id, bytes, sha256) of every video, shard by shard, from the lists beside the tars; no tar is opened."""
    for shard in shards.shards:
        path = (shards.root / shard.name).with_suffix(".json")
        told = parse_json(read_text(path), str(path))
        items = told.get("items")
        if told.get("sha256") != shard.sha256 or not isinstance(items, list) or len(items) != shard.samples:
            raise ValueError(f"{path} does not fit {MANIFEST}: give `shards` again to write both")
        for item in items:
            match item:
                case [str(name), int(size), str(sha256)]:
                    yield name, size, sha256
                case _:
                    raise ValueError(f"{path}: items holds {repr(item)[:200]}; [id, bytes, sha256] was expected")
