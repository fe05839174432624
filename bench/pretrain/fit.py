"""The loop that every prior is trained with: AdamW, warm-up and cosine decay, averaged weights, one generator.

Priors are made once and shipped; the training stages that the benchmark compares have their own loop
(`bench/train.py`), which resumes and is deterministic to the byte.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


@dataclass(frozen=True)
class Budget:
    """How long and how fast a prior is trained."""

    steps: int
    learning_rate: float
    seed: int
    batch: int
    warmup: int = 50
    weight_decay: float = 0.01
    ema_decay: float = 0.995
    clip_norm: float = 1.0


Loss = Callable[[nn.Module, int, np.random.Generator], Tensor]  # (module, step, generator) -> scalar


def fit(
    module: nn.Module,
    loss: Loss,
    budget: Budget,
    log: Callable[[str], None],
    parameters: Iterable[nn.Parameter] | None = None,
    probe: Callable[[nn.Module], str] | None = None,
    every: int = 100,
) -> nn.Module:
    """Trains `module` in place and returns its averaged copy, in eval mode.

    `probe` is called on the averaged copy now and then; what it returns is logged beside the loss.
    """
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng(budget.seed)
    trained = [p for p in (parameters or module.parameters()) if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, budget.learning_rate, weight_decay=budget.weight_decay)
    averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(budget.ema_decay))
    started, recent = time.process_time(), []
    for step in range(budget.steps):
        for group in optimiser.param_groups:
            group["lr"] = budget.learning_rate * _schedule(step, budget)
        value = loss(module.train(), step, rng)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(trained, budget.clip_norm)
        optimiser.step()
        averaged.update_parameters(module)
        recent.append(value.item())
        if (step + 1) % every == 0 or step + 1 == budget.steps:
            extra = f"  {probe(averaged.module.eval())}" if probe else ""
            seconds = time.process_time() - started
            log(f"step {step + 1}/{budget.steps}  loss {np.mean(recent):.4f}  {seconds:.0f} CPU s{extra}")
            recent.clear()
    return averaged.module.eval()


def _schedule(step: int, budget: Budget) -> float:
    warm = min(1.0, (step + 1) / budget.warmup)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / budget.steps)))
