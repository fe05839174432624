"""In which arithmetic does a network run? In float32, or on a GPU in half precision where the profile says so.

Weights stay float32 and sums that need it are taken in float32 (torch's autocast), as the official scripts do.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def arithmetic(precision: str, device: str) -> AbstractContextManager[Any]:
    """Networks inside compute in `precision` ("float32", "bf16", "fp16") on a GPU; a CPU always in float32.

    Raises ValueError for another word.
    """
    if precision not in ("float32", *TYPES):
        raise ValueError(f"precision is {precision!r}; allowed: float32, {', '.join(TYPES)}")
    if precision == "float32" or torch.device(device).type == "cpu":
        return nullcontext()
    return torch.autocast(torch.device(device).type, TYPES[precision])


def of_step(config: Mapping[str, Any]) -> str:
    """The precision in a step's config: float32 where it says nothing."""
    return str(config.get("machine", {}).get("precision", "float32"))
