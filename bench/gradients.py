"""How do the gradients of a step's micro-batches become one sum, whoever computes them?

A step is cut into fixed micro-batches, 0 .. count - 1; micro-batch k belongs to rank k mod size. Floating-point sums
depend on their order, so ranks on a CPU bring the gradients of each micro-batch apart, and everyone adds them in the
order of the micro-batches: ((g0 + g1) + g2) + ..., which is what autograd does to `.grad` in a single process. On a GPU
each rank adds its own, and one all-reduce adds the ranks, as torch's DDP does: fast, and equal but for the last bits.
`bench/sharded.py` adds up for a model that is cut over the ranks.
Shapes: a packed gradient is float32 (P + 1,): those of all trained parameters, one after the other, and the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bench.ranks import Ranks

Backward = Callable[[int, float], float]  # (micro-batch, weight) -> its loss; adds weight times its gradient to `.grad`


class Gradients:
    """One process: autograd adds to `.grad`, micro-batch after micro-batch. Fills `.grad` of `trained`."""

    def __init__(self, trained: Sequence[nn.Parameter], ranks: Ranks) -> None:
        self.trained, self.ranks = list(trained), ranks

    def add_up(self, count: int, backward: Backward) -> float:
        """The sum of the losses of all micro-batches; the sum of their gradients is left in `.grad`."""
        total = 0.0
        for number in range(count):
            total += backward(number, 1.0)
        return total

    def clip(self, most: float) -> float:
        """Scales all gradients so that their norm is at most `most`; returns the norm before."""
        return nn.utils.clip_grad_norm_(self.trained, most, foreach=False).item()


class InOrder(Gradients):
    """Ranks on CPUs: turn by turn, a micro-batch for each rank, added by everyone in one order."""

    def add_up(self, count: int, backward: Backward) -> float:
        """See `Gradients.add_up`; the same bits as there, whatever the number of ranks."""
        total, summed = 0.0, torch.empty(0)
        for start in range(0, count, self.ranks.size):
            mine = start + self.ranks.rank
            packed = self._packed(backward(mine, 1.0)) if mine < count else self._nothing()
            for part in self.ranks.gather(packed)[: count - start]:
                total += part[-1].item()
                summed = summed.add_(part) if len(summed) else part
        self._unpack(summed)
        return total

    def _packed(self, loss: float) -> Tensor:
        """This rank's micro-batch, apart from all others; `.grad` is empty again."""
        packed = torch.cat([gradient.flatten() for gradient in present(self.trained)] + [torch.tensor([loss])])
        clear(self.trained)
        return packed

    def _nothing(self) -> Tensor:
        """What a rank brings that has no micro-batch in this turn."""
        return torch.zeros(sum(p.numel() for p in self.trained) + 1)

    def _unpack(self, packed: Tensor) -> None:
        """Into `.grad`, laid out in memory as autograd does it: a norm adds in the order of memory."""
        pieces = packed[:-1].split([p.numel() for p in self.trained])
        for parameter, piece in zip(self.trained, pieces, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(piece.view(parameter.shape))


class Reduced(Gradients):
    """Ranks on GPUs: each adds its own micro-batches, then the ranks are added by one all-reduce."""

    def add_up(self, count: int, backward: Backward) -> float:
        """See `Gradients.add_up`; the same sum, in an order that is the fastest."""
        mine = sum(backward(number, 1.0) for number in range(self.ranks.rank, count, self.ranks.size))
        if self.ranks.rank >= count:
            for parameter in self.trained:
                parameter.grad = torch.zeros_like(parameter)
        self.ranks.add(present(self.trained))
        return total_of(mine, self.ranks)


def present(trained: Sequence[nn.Parameter]) -> list[Tensor]:
    """All gradients. Raises RuntimeError when a parameter has none: ranks could not tell it from zero."""
    found = [parameter.grad for parameter in trained if parameter.grad is not None]
    if len(found) < len(trained):
        raise RuntimeError(f"{len(trained) - len(found)} trained parameters take no part in the loss: leave them out")
    return found


def clear(trained: Sequence[nn.Parameter]) -> None:
    """No gradient at all."""
    for parameter in trained:
        parameter.grad = None


def total_of(mine: float, ranks: Ranks) -> float:
    """The sum of what the ranks have, in their order: the same number on all."""
    return sum(part.item() for part in ranks.gather(torch.tensor([mine], dtype=torch.float64)))


def gradients_of(trained: Sequence[nn.Parameter], ranks: Ranks, device: torch.device) -> Gradients:
    """How a model is added up that every rank holds in full."""
    if ranks.size == 1:
        return Gradients(trained, ranks)
    return InOrder(trained, ranks) if device.type == "cpu" else Reduced(trained, ranks)
