"""How a training stage starts from another model's weights, strictly: what is taken, what is new.

State dicts are {name: tensor} with the names of `DynamiCrafter`.
Source: DynamiCrafter, arXiv:2310.12190, section 3.3 (training paradigm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CONV_IN = "unet.conv_in.weight"  # the one parameter that a stage may widen
NAMED = 6  # tensors that an error names


@dataclass(frozen=True)
class Inherited:
    """Names of the parameters: taken from the parent, and new; and entries of the parent's file that are not used."""

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...] = ()


def widen_conv_in(state: Mapping[str, Tensor], new_in_channels: int) -> dict[str, Tensor]:
    """`state` with a first convolution of `new_in_channels` inputs; the weights of the new ones are zero.

    The wider model therefore starts as what the narrower one was. Raises ValueError when it is wider already.
    """
    weight = state[CONV_IN]
    missing = new_in_channels - weight.shape[1]
    if missing < 0:
        raise ValueError(f"{CONV_IN} has {weight.shape[1]} inputs, more than the {new_in_channels} wanted")
    zeros = weight.new_zeros(weight.shape[0], missing, *weight.shape[2:])
    return {**state, CONV_IN: torch.cat([weight, zeros], dim=1)}


@torch.no_grad()
def inherit(model: nn.Module, parent_state: Mapping[str, Tensor]) -> Inherited:
    """Copies every tensor of `parent_state` into `model`; what the parent lacks keeps its initial value.

    One at a time: a mapping that reads from a file is not held in memory. A narrower first convolution is widened by
    zeros. Raises ValueError, and copies nothing, when a tensor of the parent has no place in the model or another
    shape.
    """
    own = model.state_dict()
    channels = own[CONV_IN].shape[1] if CONV_IN in own else 0

    def parent(name: str) -> Tensor:
        value = parent_state[name]
        wider = name == CONV_IN and value.shape[1] < channels
        return widen_conv_in({CONV_IN: value}, channels)[CONV_IN] if wider else value

    wrong = [f"{name}: the model has no such part" for name in parent_state if name not in own]
    wrong += [
        f"{name}: {tuple(parent(name).shape)} in the parent, {tuple(own[name].shape)} in the model"
        for name in own.keys() & set(parent_state)
        if parent(name).shape != own[name].shape
    ]
    if wrong:
        lines = "\n  ".join(sorted(wrong))
        raise ValueError(f"the parent does not fit the model, {len(wrong)} tensors:\n  {lines}")
    loaded = tuple(name for name in own if name in parent_state)
    for name in loaded:
        own[name].copy_(parent(name))
    return Inherited(loaded, tuple(name for name in own if name not in parent_state))
