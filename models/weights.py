"""How are a module's weights written down and read back, without ever running anything found in a file.

Files are safetensors; the header's metadata carries a card: what the weights are, how they were made, the
command that makes them again. Values are strings.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CHUNK = 1 << 20
RANDOM = {"uniform_", "normal_"}  # tensor methods that draw initial values


class _NoDraws(TorchFunctionMode):
    """Leaves tensors alone that are about to be given initial values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        draws = getattr(func, "__module__", "") == "torch.nn.init" or getattr(func, "__name__", "") in RANDOM
        return (args[0] if args else kwargs["tensor"]) if draws else func(*args, **kwargs)


@contextmanager
def uninitialised(dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Modules built inside have parameters of `dtype`, whose values are undefined; their buffers are filled as always.

    For modules that are filled to the last parameter next: initial values cost a large model half a minute, and
    memory that is taken before it is needed.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _NoDraws():
            yield
    finally:
        torch.set_default_dtype(before)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sort_header(file: BinaryIO) -> None:
    """Sorts the metadata of a safetensors file in place.

    The library writes them in an order that changes from call to call; the same weights and card must give
    the same bytes, because files are known by their hash.
    """
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(text) <= length, "sorting cannot make a header longer"
    file.seek(8)
    file.write(text.ljust(length))


def save_tensors(tensors: Mapping[str, Tensor], path: Path, card: Mapping[str, str] | None = None) -> str:
    """Writes tensors and a card; the file appears whole or not at all. Returns its sha256."""
    flat = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}

    def write(temporary: Path) -> None:
        save_file(flat, temporary, metadata=dict(card or {}))
        with temporary.open("r+b") as file:
            sort_header(file)

    write_whole(path, write)
    return sha256(path)


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, and puts it in its place when it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.chmod(0o644)  # safetensors creates files that only their owner can read
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU.

    Raises:
        ValueError: no such file, or not a safetensors file.
    """
    if not path.is_file():
        raise ValueError(f"weights: {path} is not a file")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"weights: {path} is not a readable safetensors file ({error})") from error


def read_card(path: Path) -> dict[str, str]:
    """The metadata of a file; empty when it has none.

    Raises:
        ValueError: no such file, or not a safetensors file.
    """
    if not path.is_file():
        raise ValueError(f"weights: {path} is not a file")
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"weights: {path} is not a readable safetensors file ({error})") from error


def save_module(module: nn.Module, path: Path, card: Mapping[str, str] | None = None) -> str:
    """Writes a module's state and a card. Returns the file's sha256."""
    return save_tensors(module.state_dict(), path, card)


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Fills a module, strictly.

    Args:
        module: what to fill.
        state: its weights.
        source: what to call them in an error.

    Raises:
        ValueError: with every key that is missing, not understood or of another shape.
    """
    own = module.state_dict()
    problems = [f"missing {k} {tuple(own[k].shape)}" for k in own if k not in state]
    problems += [f"not understood {k} {tuple(state[k].shape)}" for k in state if k not in own]
    problems += [
        f"{k} has shape {tuple(state[k].shape)}, the module needs {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if problems:
        listed = "\n  ".join(problems)
        raise ValueError(f"weights: {source} does not fit {type(module).__name__}:\n  {listed}")
    module.load_state_dict(state, strict=True)


def load_module(module: nn.Module, path: Path) -> None:
    """Fills a module from a file, strictly; see `load_state` and `load_tensors` for what is raised."""
    load_state(module, load_tensors(path), str(path))
