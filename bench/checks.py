"""What `bench check` prints: a line per missing, odd or damaged file, by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from bench.environment import cpu_cores
from bench.errors import UsageError
from bench.fingerprint import sha256_file
from bench.sources import assignments

if TYPE_CHECKING:
    from torch import Tensor

READERS = ("ucf101", "msrvtt", "webvid", "folder")
OFFICIAL_PARTS = (
    "model.diffusion_model.",
    "first_stage_model.",
    "cond_stage_model.",
    "embedder.",
    "image_proj_model.",
)


def check_data(sources: Sequence[str], say: Callable[[str], None]) -> int:
    """Looks at every video of each NAME=DIR. Returns 1 if something is missing, unreadable or damaged, else
    0.

    Raises UsageError for a name or folder that does not exist.
    """
    from datasets.inspect import inspect_data

    found = assignments("check data", sources, READERS)
    absent = [f"check data {name}={root}: there is no such folder" for name, root in found.items() if not root.is_dir()]
    if absent:
        raise UsageError(absent)
    sound = True
    for name, root in found.items():
        try:
            result = inspect_data(name, root, say, workers=cpu_cores())
        except ValueError as error:
            say(f"{name} {root}: {error}")
            sound = False
            continue
        sound = sound and result.sound
    return 0 if sound else 1


def check_weights(files: Sequence[Path], say: Callable[[str], None]) -> int:
    """Opens every file of weights. Returns 1 if one cannot be read or has something missing, odd or left
    over.
    """
    good = True
    for path in files:
        try:
            problems = describe_weights(path, say)
        except (ValueError, OSError) as error:
            problems = [str(error)]
        for problem in problems:
            say(f"FAIL {path}: {problem}")
        good = good and not problems
    return 0 if good else 1


def describe_weights(path: Path, say: Callable[[str], None]) -> list[str]:
    """Says what a file holds; returns what is wrong with it. Raises ValueError when it cannot be read."""
    from models.checkpoint import check_official, open_official

    state = open_official(path)
    if any(name.startswith(OFFICIAL_PARTS) for name in state.shapes):
        problems = check_official(state)
        if not problems:
            say(f"ok {path}: an official checkpoint, {len(state.shapes)} entries, every one fits")
        return problems
    bad = [name for name in state.shapes if not _finite(state.get(name))]
    if not bad:
        count = sum(prod(shape) for shape in state.shapes.values())
        say(f"ok {path}: {len(state.shapes)} tensors, {count / 1e6:.2f} M values, sha256 {sha256_file(path)}")
        _say_card(path, say)
    return [f"{name} holds values that are no numbers" for name in bad]


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _say_card(path: Path, say: Callable[[str], None]) -> None:
    """The card that travels with our own files."""
    from models.weights import read_card

    card = read_card(path) if path.suffix == ".safetensors" else {}
    for key, value in sorted(card.items()):
        say(f"   {key}: {value}")
