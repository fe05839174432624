"""How is an array larger than memory read and written, a few rows at a time?

Shapes: arrays (N, ...) of a safetensors file; rows come as copies, so memory holds what was asked for and no more (the
pages of a memory map would count as this process's own).
Source: the safetensors format: 8 bytes of header length, a JSON header that may end in spaces, then the tensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

KINDS: dict[str, np.dtype[Any]] = {"U8": np.dtype("u1"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
LONGEST = 2**24  # bytes of a header


class RowReader:
    """One array of a file, read by rows. Raises ValueError when the file has none of that name, or is cut short."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._file = path.open("rb", buffering=0)
        try:
            self.shape, self.dtype, self._begin = self._place()
        except BaseException:
            self._file.close()
            raise
        self._row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def _place(self) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        size = os.fstat(self._file.fileno()).st_size
        length = int.from_bytes(self._file.read(8), "little")
        if not 2 <= length <= min(size, LONGEST):
            raise ValueError(f"{self.path} is not a safetensors file")
        try:
            tensor = json.loads(self._file.read(length))[self.name]
            shape, kind, (begin, end) = tuple(tensor["shape"]), KINDS[tensor["dtype"]], tensor["data_offsets"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} holds no array {self.name!r} of a known kind: {error}") from error
        expected = int(np.prod(shape, dtype=object)) * kind.itemsize
        if not shape or end - begin != expected or 8 + length + end > size:
            raise ValueError(f"{self.path}: {self.name!r} is {kind} {shape}, {size} bytes in all; it is cut short")
        return shape, kind, 8 + length + begin

    def __len__(self) -> int:
        return int(self.shape[0])

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start..stop (as many as there are), a copy."""
        stop = min(stop, len(self))
        rows = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        self._fill(rows, start * self._row)
        return rows

    def first(self, row: int) -> NDArray[Any]:
        """The first entry of one row: frame 0 of a clip. Raises IndexError for a row that is not there."""
        if not 0 <= row < len(self):
            raise IndexError(f"{self.path}: row {row} of {len(self)}")
        entry = np.empty(self.shape[2:], self.dtype)
        self._fill(entry, row * self._row)
        return entry

    def _fill(self, rows: NDArray[Any], offset: int) -> None:
        view, done = memoryview(rows.reshape(-1).view(np.uint8).data), 0
        while done < len(view):
            got = os.preadv(self._file.fileno(), [view[done:]], self._begin + offset + done)
            if not got:
                raise ValueError(f"{self.path} is cut short")
            done += got

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RowWriter:
    """A safetensors file of float64 arrays whose shapes are known before their rows: {name: (N, ...)}."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes, self._begin, header, end = dict(shapes), {}, {}, 0
        for name, shape in sorted(shapes.items()):
            self._begin[name] = end
            end += 8 * int(np.prod(shape, dtype=np.int64))
            header[name] = {"dtype": "F64", "shape": list(shape), "data_offsets": [self._begin[name], end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text = text.ljust(-(-len(text) // 8) * 8)
        self._data = 8 + len(text)
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)
        self._file.truncate(self._data + end)

    def write(self, name: str, start: int, rows: NDArray[np.float64]) -> None:
        """Rows from `start` on. Raises ValueError when they do not fit."""
        shape = self._shapes[name]
        if rows.shape[1:] != shape[1:] or start + len(rows) > shape[0]:
            raise ValueError(f"{name}: rows {rows.shape} at {start} do not fit {shape}")
        self._file.seek(self._data + self._begin[name] + 8 * start * int(np.prod(shape[1:], dtype=np.int64)))
        self._file.write(np.ascontiguousarray(rows, "<f8").tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
