"""What tensors are in a file that somebody else made? Read without running anything that it holds.

Understood: safetensors; .pt, .pth, .bin and .pth.tar as `torch.save` writes them, old and new, read with
`weights_only`: only plain containers and tensors are let in. A TorchScript archive is a program: it is refused here,
and only ever run by `read_archive`, which a command calls when the user has asked for just that.
"""

from __future__ import annotations

import argparse
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from models.tensor_files import not_tensors
from models.weights import load_tensors

Module = TypeVar("Module", bound=nn.Module)


def read_content(path: Path) -> Any:
    """What a file of `torch.save` holds, or the tensors of a safetensors file.

    Raises ValueError when there is no such file, when it is a TorchScript archive, or when it holds anything beside
    plain containers, numbers, words and tensors. Command-line settings (`argparse.Namespace`), which training scripts
    like to save beside weights, are let in: they are a container.
    """
    if path.suffix == ".safetensors":
        return load_tensors(path)
    if not path.is_file():
        raise ValueError(f"weights: {path} is not a file")
    if is_archive(path):
        raise ValueError(
            f"weights: {path} is a TorchScript archive, a program that opening would run. If it is I3D and you trust "
            f"it, convert it once: python -m bench convert i3d {path} --out {path.with_suffix('.safetensors')} --trust"
        )
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on bytes that are no tensors, torch's reader raises whatever it stumbles over
        raise ValueError(not_tensors(path, error)) from error


def read_state(path: Path, under: str = "") -> dict[str, Tensor]:
    """The state dict in a file; raises ValueError as `read_content`, or when there is none.

    `under` names the entry of the file that holds it; where it is empty, `state_dict` is opened if the file has one.
    """
    content = read_content(path)
    if under:
        if not isinstance(content, Mapping) or under not in content:
            raise ValueError(f"weights: {path} has no entry {under!r}")
        content = content[under]
    elif isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content or not all(isinstance(x, Tensor) for x in content.values()):
        where = f"under {under!r} " if under else ""
        raise ValueError(f"weights: {path} {where}is not a state dict: names, and a tensor for each")
    return {str(name): tensor.detach() for name, tensor in content.items()}


def is_archive(path: Path) -> bool:
    """Whether a file is a TorchScript archive: a zip file with code in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return any(name.endswith("/constants.pkl") or "/code/" in name for name in names)


def read_archive(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers of a TorchScript archive, by name. THIS RUNS CODE FROM THE FILE: ask the user first.

    Raises ValueError when it is no archive or cannot be opened.
    """
    if not is_archive(path):
        raise ValueError(f"weights: {path} is not a TorchScript archive")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch says that such archives are of the past: so it is
            module = torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        raise ValueError(f"weights: {path} cannot be opened as a TorchScript archive ({error})") from error
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def unfilled(build: Callable[[], Module]) -> Module:
    """A module in evaluation mode that waits for its weights: all are NaN, so that one never filled cannot be missed.

    Nothing is drawn; counters are 0.
    """
    with torch.device("meta"):
        module = build()
    module.to_empty(device="cpu")
    for tensor in module.state_dict().values():
        tensor.fill_(torch.nan if tensor.is_floating_point() else 0)
    return module.eval()


def check_fit(state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Raises ValueError with a line per entry that is missing, not understood, of another shape or not finite."""
    lines = [f"missing {name} {wanted[name]}" for name in wanted if name not in state]
    lines += [f"not understood {name} {tuple(state[name].shape)}" for name in state if name not in wanted]
    for name in (name for name in wanted if name in state):
        tensor = state[name]
        if tuple(tensor.shape) != wanted[name]:
            lines.append(f"{name} has shape {tuple(tensor.shape)}, expected {wanted[name]}")
        elif tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            lines.append(f"{name} holds values that are no numbers")
    if lines:
        listed = "\n  ".join(lines)
        raise ValueError(f"weights: {source} does not fit, {len(lines)} entries:\n  {listed}")
