"""How does a network run as compiled code? `execution.compile`: torch.compile, every shape fixed, on a GPU.

One evaluation of the U-Net is one graph (it has no branch on data), compiled for each shape that it sees; the groups of
models/pipeline.py are padded, so a step sees one. The order of sums changes, so do last bits: it is part of a step's
fingerprint. CUDA graphs are not used: the next call writes to their memory again, which answers that are kept for
guidance would not survive without a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from models.unet import VideoUNet


def compile_unet(unet: VideoUNet, config: Mapping[str, Any], device: str) -> None:
    """From now on `unet.denoise` is compiled, where the step's config says so and there is a GPU.

    Raises RuntimeError (torch's) at the first evaluation where the compiler is missing.
    """
    if wanted(config) and torch.device(device).type == "cuda":
        compile_denoise(unet)


def wanted(config: Mapping[str, Any]) -> bool:
    """Whether a step's config asks for it."""
    return bool(config.get("machine", {}).get("compile", False))


def compile_denoise(unet: VideoUNet) -> None:
    """Replaces `unet.denoise`; weights and names stay as they are."""
    unet.denoise = torch.compile(unet.denoise, dynamic=False, fullgraph=True)  # type: ignore[method-assign]
