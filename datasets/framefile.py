"""How are the frames of many clips kept? In one safetensors file, written and read clip by clip.

Shapes: one tensor `frames`, uint8 (N, T, H, W, 3); lossless. Memory holds one clip, however many there are.
Source: the safetensors format: 8 bytes of header length, a JSON header that may end in spaces, then the
tensors.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from datasets.clip import Frames

_HEADER_BYTES = 248  # with the 8 bytes of its length, the data begins at 256


class FramesWriter:
    """Appends clips of one shape; the header, which states their number, is written at the end.

    A writer that is left by an exception leaves no header: the file does not open as safetensors.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(b"\0" * (8 + _HEADER_BYTES))
        self.path = path
        self.count = 0
        self.shape: tuple[int, ...] | None = None

    def append(self, frames: Frames) -> None:
        """Adds one clip (T, H, W, 3).

        Raises ValueError when its type or shape is another than the first clip's.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or (self.shape or frames.shape) != frames.shape:
            raise ValueError(
                f"{self.path}: clip {self.count} is {frames.dtype} {frames.shape}; expected uint8 "
                f"{self.shape or '(T, H, W, 3)'}"
            )
        self.shape = frames.shape
        self._file.write(np.ascontiguousarray(frames).data)
        self.count += 1

    def close(self) -> None:
        """Writes the header and makes the file durable."""
        shape = [self.count, *(self.shape or (0, 0, 0, 3))]
        tensor = {"dtype": "U8", "shape": shape, "data_offsets": [0, int(np.prod(shape, dtype=object))]}
        header = json.dumps({"frames": tensor}, separators=(",", ":")).encode("ascii").ljust(_HEADER_BYTES)
        self._file.seek(0)
        self._file.write(_HEADER_BYTES.to_bytes(8, "little") + header)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def read_frames(path: Path) -> Frames:
    """The tensor `frames` (N, T, H, W, 3) as a read-only map of the file: what is not used is not read.

    Raises ValueError when the file holds no such tensor, or is shorter than its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size, 2**24):
            raise ValueError(f"{path} is not a safetensors file")
        try:
            tensor = json.loads(file.read(length))["frames"]
            shape, kind, (begin, end) = tuple(tensor["shape"]), tensor["dtype"], tensor["data_offsets"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no tensor 'frames': {error}") from error
    offset, expected = 8 + length + begin, int(np.prod(shape, dtype=object))
    if kind != "U8" or len(shape) != 5 or end - begin != expected or offset + expected > size:
        raise ValueError(
            f"{path}: 'frames' is {kind} {shape}, {size} bytes; expected U8 (N, T, H, W, 3) in full"
        )
    if not expected:
        return np.zeros(shape, np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)
