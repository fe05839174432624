"""Where do the weights of a trained model lie: all on every rank, or cut over the ranks?

A layout tells which parameters the optimiser is given, how their gradients are added up, and how the state is made
whole for a checkpoint. `bench/sharded.py` cuts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from bench.gradients import Gradients, gradients_of
from bench.ranks import Ranks


class Layout(Protocol):
    """What a stage asks of it; every rank asks the same, in the same order."""

    trained: list[nn.Parameter]

    @property
    def gradients(self) -> Gradients:
        """How they are added up."""
        ...

    def whole(self, value: Tensor) -> Tensor:
        """A parameter, or something laid out as one, in full."""
        ...

    def part(self, value: Tensor, like: Tensor) -> Tensor:
        """What this rank holds of a full tensor, laid out as `like`."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Fills the model from a full state."""
        ...


class Whole:
    """Every rank holds everything: plain data parallelism."""

    def __init__(self, model: nn.Module, names: Sequence[str], ranks: Ranks) -> None:
        self.model = model
        parameters = dict(model.named_parameters())
        self.trained = [parameters[name] for name in names]
        self.gradients = gradients_of(self.trained, ranks, self.trained[0].device)

    def whole(self, value: Tensor) -> Tensor:
        """See `Layout.whole`."""
        return value

    def part(self, value: Tensor, like: Tensor) -> Tensor:
        """See `Layout.part`."""
        return value.to(like.device)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Layout.load`."""
        self.model.load_state_dict(state, strict=True)


def _sharded(model: nn.Module, names: Sequence[str], ranks: Ranks) -> Layout:
    from bench.sharded import Sharded

    return Sharded(model, names, ranks)


LAYOUTS: dict[str, Callable[[nn.Module, Sequence[str], Ranks], Layout]] = {"none": Whole, "fsdp": _sharded}
