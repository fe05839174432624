"""How is a model trained in less memory? Activations of each stage are computed again in the backward pass.

Only the input of a stage is kept; what its layers computed inside is forgotten and recomputed when gradients need it:
one more forward pass, the same operations on the same values, so losses and gradients have the same bits.
Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174; `torch.utils.checkpoint`.
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from models.blocks import Stage


def recompute_stages(model: nn.Module) -> None:
    """From now on the stages of `model`'s U-Net forget their activations. Names and weights stay as they are."""
    for stage in model.modules():
        if isinstance(stage, Stage):
            stage.forward = partial(checkpoint, stage.forward, use_reentrant=False)  # type: ignore[method-assign]
