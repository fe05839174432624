"""Do our parts account for every entry of a released checkpoint, and for nothing else?

Reads key lists: tab-separated, header `name shape dtype`, a row per entry of the official state dict. Ours
are derived from the modules of the released configuration, which are built without memory.
Source: state dicts of the official DynamiCrafter code (commit c453369).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch

from bench.verify_unet import Case
from models import presets
from models.autoencoder import Autoencoder
from models.checkpoint import Modules, expected_entries, problems
from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter
from models.encoders import ImageEncoder, TextEncoder

HEADER = "name\tshape\tdtype"
UNET = "model.diffusion_model."


def is_key_list(path: Path) -> bool:
    """Whether a file is a list of the entries of an official checkpoint."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") == HEADER and any(line.startswith(UNET) for line in file)


def read_keys(path: Path) -> dict[str, tuple[int, ...]]:
    """{entry: shape} of a key list."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return {row[0]: tuple(int(n) for n in re.findall(r"\d+", row[1])) for row in rows}


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """{official entry: shape} of the parts of a configuration."""
    with torch.device("meta"):
        modules = Modules(
            DynamiCrafter(config),
            Autoencoder(config.autoencoder),
            TextEncoder(config.clip),
            ImageEncoder(config.clip),
        )
    return expected_entries(modules)


def check_keys(path: Path) -> Iterator[Case]:
    """One case: how many entries are missing, left over or of another shape (none may be)."""
    found = read_keys(path)
    learned = any(name.endswith(".alpha") for name in found)  # of the released sizes only 256 learns lambda
    config = presets.dynamicrafter_256() if learned else presets.dynamicrafter_512()
    wrong = problems(found, shapes_of(config))
    shown = f", the first: {wrong[0]}" if wrong else ""
    yield Case(f"{len(found)} entries{shown}", float(len(wrong)), len(wrong) / len(found), 0.0)
