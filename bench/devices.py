"""Which device networks run on, found without importing torch."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from bench.errors import UsageError


def find_devices(wanted: str) -> tuple[str, list[str]]:
    """("cpu" or "cuda", devices of the workers) for "auto", "cpu" or "cuda". Raises UsageError without a
    GPU.
    """
    cards = _visible_cards()
    if wanted == "cuda" and not cards:
        raise UsageError("--device cuda: no NVIDIA GPU is visible, or torch was built without CUDA. Use --device cpu")
    if wanted == "cpu" or not cards:
        return "cpu", ["cpu"]
    return "cuda", [f"cuda:{k}" for k in range(len(cards))]


def _visible_cards() -> list[str]:
    """Names of the GPUs that torch will see."""
    if not _torch_has_cuda():
        return []
    present = sorted(p.name for p in Path("/dev").glob("nvidia[0-9]*"))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    return [name for name in chosen.split(",") if name.strip() not in {"", "-1"}][: len(present)]


def _torch_has_cuda() -> bool:
    """What torch's own version file says about CUDA."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.origin:
        return False
    version = Path(spec.origin).with_name("version.py")
    return bool(version.is_file() and re.search(r"^cuda[^=]*= '", version.read_text(), re.MULTILINE))
