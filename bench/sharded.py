"""How is a model trained that no rank can hold with its gradients and optimiser? Cut over the ranks: torch's FSDP.

Every parameter is cut along its first axis; a stage's layers are put together only while they compute, gradients are
added up and cut in one go (reduce-scatter), and each rank's optimiser sees its own part. Scalars (lambda's alpha) stay
whole. Sums are taken in another order than in one process: not the same bytes, but the same numbers within rounding.
Every rank must come through as many backward passes as the others, so one without a micro-batch of its own repeats the
first with weight 0. What a rank cannot do here it cannot tell: one that fails ends the group.
Source: Zhao et al., PyTorch FSDP, arXiv:2304.11277; `torch.distributed.fsdp.fully_shard`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from bench.errors import BenchError
from bench.gradients import Backward, Gradients, present, total_of
from bench.ranks import Ranks
from models.attention import CrossAttention
from models.blocks import Stage


class Sharded:
    """See `bench.layouts.Layout`."""

    def __init__(self, model: nn.Module, names: Sequence[str], ranks: Ranks) -> None:
        if not torch.distributed.is_initialized():
            raise BenchError("stages.sharding is fsdp: it needs ranks. Start the run by torchrun, or leave it out")
        self.model = model
        device = next(model.parameters()).device.type
        mesh = init_device_mesh(device, (ranks.size,))
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # nothing is changed in place
        scalars = {parameter for parameter in model.parameters() if parameter.ndim == 0}

        def cut(module: nn.Module, *methods: str) -> None:
            whole = cast(FSDPModule, fully_shard(module, mesh=mesh, ignored_params=scalars))
            whole.set_gradient_divide_factor(1.0)  # the sum, not the mean
            whole.set_force_sum_reduction_for_comms(True)  # gloo knows no other
            for method in methods:
                register_fsdp_forward_method(module, method)

        for module in model.modules():
            if isinstance(module, CrossAttention):
                cut(module, "project")
        for module in model.modules():
            if isinstance(module, Stage) and len(module):
                cut(module)
        cut(model, "context")
        parameters = dict(model.named_parameters())
        self.trained = [parameters[name] for name in names]
        self.gradients = Scattered(self.trained, ranks)

    def whole(self, value: Tensor) -> Tensor:
        """See `bench.layouts.Layout.whole`."""
        return value.full_tensor().cpu() if isinstance(value, DTensor) else value

    def part(self, value: Tensor, like: Tensor) -> Tensor:
        """See `bench.layouts.Layout.part`."""
        value = value.to(like.device)
        return distribute_tensor(value, like.device_mesh, like.placements) if isinstance(like, DTensor) else value

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `bench.layouts.Layout.load`."""
        for name, value in self.model.state_dict().items():
            value.copy_(self.part(state[name], value))


class Scattered(Gradients):
    """Gradients that FSDP adds up and cuts as they come; those of scalars are added here."""

    def add_up(self, count: int, backward: Backward) -> float:
        """See `Gradients.add_up`; the same sum within rounding."""
        total, size = 0.0, self.ranks.size
        for start in range(0, count, size):
            mine = start + self.ranks.rank
            try:
                total += backward(mine, 1.0) if mine < count else backward(0, 0.0)
            except Exception as error:
                self.ranks.desert(error)
        self.ranks.add([gradient for gradient in present(self.trained) if not isinstance(gradient, DTensor)])
        return total_of(total, self.ranks)

    def clip(self, most: float) -> float:
        """See `Gradients.clip`: each rank squares its part; scalars are counted once."""
        cut = [g.to_local() for g in present(self.trained) if isinstance(g, DTensor)]
        scalars = [g for g in present(self.trained) if not isinstance(g, DTensor)]
        mine = float(sum(g.double().square().sum().item() for g in cut))
        squares = total_of(mine, self.ranks) + sum(g.double().square().item() for g in scalars)
        norm = float(squares**0.5)
        for gradient in [*cut, *scalars]:
            gradient.mul_(min(1.0, most / (norm + 1e-6)))
        return norm
