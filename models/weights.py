"""How are a module's weights written down and read back, without ever running anything found in a file.

Files are safetensors; the header's metadata carries a card: what the weights are, how they were made, the
command that makes them again. Values are strings.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CHUNK = 1 << 20


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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flat = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    try:
        save_file(flat, temporary, metadata=dict(card or {}))
        temporary.chmod(0o644)  # safetensors creates files that only their owner can read
        with temporary.open("r+b") as file:
            sort_header(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return sha256(path)


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
