"""May a folder of somebody's language or image model be opened? What can be said of it without opening it.

Weights are read from safetensors alone, and nothing that a folder brings is run. Pipelines of diffusers are checked
part by part in models/external/folder.py when they are opened.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from bench.fingerprint import FileHashes, digest

LIBRARIES = ("diffusers", "transformers")
INSTALL = 'pip install -e ".[systems]"'


def model_folder(option: str, folder: Path, index: str, what: str) -> str | None:
    """What is wrong with a folder that should hold `index`; None where nothing is."""
    if not folder.is_dir():
        return f"{option} {folder}: there is no such folder; give {what}"
    if not (folder / index).is_file():
        return f"{option} {folder}: it has no {index}; give {what}"
    if not any(folder.rglob("*.safetensors")):
        return f"{option} {folder}: it has no weights in safetensors, and others are not read"
    lacking = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    return f"{option} {folder}: {' and '.join(lacking)} not installed: {INSTALL}" if lacking else None


def offline() -> None:
    """Before transformers is imported: nothing is asked of a network."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def folder_digest(folder: Path) -> str:
    """sha256 over every file of a folder, names and contents."""
    hashes = FileHashes()
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest([[path.relative_to(folder).as_posix(), hashes.sha256(path)] for path in inside])
