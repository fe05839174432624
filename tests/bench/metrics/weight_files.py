"""Files of weights for tests: by rule, in public layouts, broken, and hostile."""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.metrics.i3d import key_list
from bench.verify_inputs import GAIN, weights


@lru_cache(maxsize=2)
def i3d_state(layout: str) -> Mapping[str, Tensor]:
    """A whole state dict of I3D, by the rule under the names of its layout."""
    return weights(key_list(layout), gain=GAIN)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


class Tree(nn.Module):
    """A module whose buffers have the names of a state dict; what a TorchScript archive is made of."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        below: dict[str, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            first, _, rest = name.partition(".")
            if rest:
                below.setdefault(first, {})[rest] = tensor
            else:
                self.register_buffer(first, tensor)
        for name, part in below.items():
            self.add_module(name, Tree(part))

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_archive(state: Mapping[str, Tensor], path: Path) -> Path:
    """Writes a TorchScript archive with these tensors."""
    torch.jit.script(Tree(state)).save(str(path))
    return path
