"""The training loop of a stage: what is drawn, in which order it is added up, and how it resumes.

Deterministic to the byte on one kind of machine: every step's draws come from a generator of their own; gradients are
those of fixed micro-batches, added in a fixed order whichever rank computes them; the state on disk is the whole state.
Draws depend on the seed, the stage and the step alone, so that variants which go through a stage see the same clips,
frames, noise and dropped conditions in it. Shapes: B clips of a step, T frames, h x w latent sites.
Source: DynamiCrafter, arXiv:2310.12190, section 3.3; objective in `models/losses.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.encoded import Encoded
from bench.layouts import LAYOUTS
from bench.precision import arithmetic
from bench.ranks import ALONE, Ranks
from bench.seeding import generator, normal
from models.dynamicrafter import DynamiCrafter
from models.losses import Draws, Nulls, TrainBatch, training_loss
from models.recompute import recompute_stages
from models.schedule import Schedule
from models.weights import load_tensors, read_card, save_tensors

STATE = "state.safetensors"
Line = dict[str, Any]


@dataclass(frozen=True)
class TrainSettings:
    """One stage's budget and choices."""

    stage: str
    seed: int
    steps: int
    batch: int
    micro_batch: int
    learning_rate: float
    warmup: int
    final_rate: float  # share of the learning rate that is left at the last step; 1: constant, as released
    clip_norm: float
    uncond_prob: float
    log_every: int
    checkpoint_every: int
    images: bool  # one random frame of each clip instead of the clip; its condition is itself
    condition_frame: Literal["random", "first"]
    groups: tuple[str, ...]  # names of `DynamiCrafter.parameter_groups` that are trained
    ema: float | None = None  # decay of the weights' moving average, which the stage then leaves; None: the last ones
    sharding: Literal["none", "fsdp"] = "none"  # fsdp: each rank holds a part of weights, gradients and optimiser
    gradient_checkpointing: bool = False  # recompute activations in the backward pass: less memory, the same bits

    def __post_init__(self) -> None:
        if self.batch % self.micro_batch:
            raise ValueError(f"train.batch {self.batch} is no multiple of micro_batch {self.micro_batch}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"train.ema is {self.ema}; allowed: more than 0, less than 1")

    @property
    def micro_batches(self) -> int:
        """Into how many the batch is cut."""
        return self.batch // self.micro_batch


def draw_step(
    data: Encoded, settings: TrainSettings, step: int, timesteps: int, ends: bool = False
) -> tuple[TrainBatch, Draws]:
    """The clips and the random numbers of one step.

    `ends`: the model is shown the first and the last latent; its image tokens are the first frame's, as in the
    official interpolation model.
    """
    rng = generator(settings.seed, "train", settings.stage, step)
    index = torch.from_numpy(rng.integers(0, len(data), settings.batch))
    return draw_rows(data, index, rng, settings, timesteps, ends)


def draw_rows(
    data: Encoded, index: Tensor, rng: np.random.Generator, settings: TrainSettings, timesteps: int, ends: bool = False
) -> tuple[TrainBatch, Draws]:
    """The clips at `index` (B,) and what is drawn for each: condition frame, latent, timestep, dropout, noise."""
    count = len(index)
    chosen = torch.from_numpy(rng.integers(0, data.mean.shape[2], count))
    posterior = normal(rng, tuple(data.mean[index].shape))
    latent = data.mean[index] + data.std[index] * posterior
    condition_at = torch.zeros_like(chosen) if ends or settings.condition_frame == "first" else chosen
    rows = torch.arange(count)
    condition = latent[:, :, [0, -1]] if ends else latent[rows, :, condition_at][:, :, None]
    tokens = data.image_tokens[index, condition_at].float()
    shown = condition if settings.images else latent
    batch = TrainBatch(shown, condition, data.text[index].float(), tokens, data.fs[index])
    t = torch.from_numpy(rng.integers(0, timesteps, count))
    dropout = torch.from_numpy(rng.uniform(size=count))
    return batch, Draws(t, normal(rng, tuple(latent.shape))[:, :, : shown.shape[2]], dropout)


def _rows(item: Any, part: slice) -> Any:
    """Some rows of a batch or of its draws."""
    return type(item)(**{name: getattr(item, name)[part] for name in item.__dataclass_fields__})


def _on(item: Any, device: torch.device) -> Any:
    """A batch or its draws where the model is; they are made on the CPU whatever the device."""
    return type(item)(**{name: getattr(item, name).to(device) for name in item.__dataclass_fields__})


def learning_rate(settings: TrainSettings, done: int) -> float:
    """The rate of the step after `done` steps: a linear warm-up, then linearly down to `final_rate` of it."""
    warm = min(1.0, (done + 1) / max(settings.warmup, 1))
    left = 1 - (1 - settings.final_rate) * done / max(settings.steps - 1, 1)
    return settings.learning_rate * warm * left


class Source(Protocol):
    """Where a stage's micro-batches come from: `InMemory`, or a stream (`bench/stream.py`)."""

    @property
    def null_text(self) -> Tensor:
        """(1, L, D) of the empty prompt."""

    @property
    def null_image_tokens(self) -> Tensor:
        """(1, M, E) of a grey image."""

    def micro(self, step: int, number: int) -> tuple[TrainBatch, Draws]:
        """Micro-batch `number` of the step after `step` steps: depends on these two, seed and stage alone."""

    def close(self) -> None:
        """The stage is done with it."""


class Streaming(Protocol):
    """A training set that is not held in memory."""

    def source(self, settings: TrainSettings, timesteps: int, ends: bool) -> Source:
        """The micro-batches of a stage."""


class InMemory:
    """The micro-batches of every step, out of an encoded data set."""

    def __init__(self, data: Encoded, settings: TrainSettings, timesteps: int, ends: bool = False) -> None:
        self.data, self.settings, self.timesteps, self.ends = data, settings, timesteps, ends
        self.null_text, self.null_image_tokens = data.null_text, data.null_image_tokens
        self._drawn: tuple[int, TrainBatch, Draws] | None = None

    def micro(self, step: int, number: int) -> tuple[TrainBatch, Draws]:
        """Micro-batch `number` of the step after `step` steps, on the CPU: its clips and its random numbers."""
        if self._drawn is None or self._drawn[0] != step:
            self._drawn = (step, *draw_step(self.data, self.settings, step, self.timesteps, self.ends))
        size = self.settings.micro_batch
        part = slice(number * size, (number + 1) * size)
        return _rows(self._drawn[1], part), _rows(self._drawn[2], part)

    def close(self) -> None:
        """Nothing is open."""


class Stage:
    """A model, what of it is trained, and the optimiser; knows how to make one step and how to be saved.

    `ranks`: the processes that train it together; each makes the same calls.
    """

    def __init__(
        self,
        model: DynamiCrafter,
        data: Encoded | Streaming,
        settings: TrainSettings,
        precision: str = "float32",
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.settings, self.precision, self.ranks = model.train(), settings, precision, ranks
        ends = model.config.visual_detail_guidance == "first_and_last"
        open_source = partial(InMemory, data) if isinstance(data, Encoded) else data.source
        self.source: Source = open_source(settings, model.config.diffusion.steps, ends)
        self.device = next(model.parameters()).device
        self.schedule = Schedule(model.config.diffusion).to(self.device)
        nothing = (self.source.null_text, self.source.null_image_tokens)
        self.nulls = Nulls(*(null.float().to(self.device) for null in nothing))
        self.names = trained_names(model, settings.groups)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.names)
        if settings.gradient_checkpointing:
            recompute_stages(model)
        self.layout = LAYOUTS[settings.sharding](model, self.names, ranks)
        self.trained = self.layout.trained
        self.optimiser = torch.optim.AdamW(self.trained, settings.learning_rate, foreach=False)
        self.average = [parameter.detach().clone() for parameter in self.trained] if settings.ema else []
        self.done = 0

    def step(self) -> Line:
        """One optimiser step; returns its loss, learning rate and gradient norm."""
        s = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        total = self.layout.gradients.add_up(s.micro_batches, self._backward)
        norm = self.layout.gradients.clip(s.clip_norm)
        if not (torch.isfinite(torch.tensor(total)) and torch.isfinite(torch.tensor(norm))):
            raise FloatingPointError(
                f"stage {s.stage}, step {self.done + 1}: loss {total}, gradient norm {norm}. It would come out the "
                "same again: lower stages.learning_rate in the profile, or look at the weights that it started from"
            )
        rate = learning_rate(s, self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self._remember()
        self.done += 1
        return {"step": self.done, "loss": total, "lr": rate, "grad_norm": norm}

    def _backward(self, number: int, weight: float) -> float:
        """Adds `weight` times the gradient of one micro-batch to `.grad`; returns its share of the loss."""
        shown, drawn = (_on(item, self.device) for item in self.source.micro(self.done, number))
        with arithmetic(self.precision, self.device.type):
            loss = training_loss(self.model, self.schedule, shown, drawn, self.nulls, self.settings.uncond_prob)
        share = loss.per_sample.sum() / self.settings.batch
        (share if weight == 1.0 else weight * share).backward()
        return weight * share.item()

    @torch.no_grad()
    def _remember(self) -> None:
        """Moves the average; its decay grows with the steps, so that it soon forgets where the stage began."""
        decay = min(self.settings.ema or 0.0, (1 + self.done) / (10 + self.done))
        for average, parameter in zip(self.average, self.trained, strict=bool(self.average)):
            average.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def finish(self) -> None:
        """The model becomes what the stage leaves: its average where one is kept, else its last weights."""
        for average, parameter in zip(self.average, self.trained, strict=bool(self.average)):
            parameter.copy_(average)
        self.model.eval()

    def weights(self) -> dict[str, Tensor]:
        """The model's state, in full; every rank must ask."""
        return {name: self.layout.whole(value) for name, value in self.model.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """Everything that the rest of the stage depends on, in full; every rank must ask."""
        tensors = {f"model.{k}": v for k, v in self.weights().items()}
        for name, average in zip(self.names, self.average, strict=bool(self.average)):
            tensors[f"average.{name}"] = self.layout.whole(average)
        for name, parameter in zip(self.names, self.trained, strict=True):
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{key}.{name}"] = self.layout.whole(value)
        return {**tensors, "done": torch.tensor(self.done)}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Back to where `state` was taken."""
        self.done = int(tensors["done"])
        of_model = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        self.layout.load(of_model)
        for name, average in zip(self.names, self.average, strict=bool(self.average)):
            average.copy_(self.layout.part(tensors[f"average.{name}"], average))
        for name, parameter in zip(self.names, self.trained, strict=True):
            found = {k: tensors[f"optimiser.{k}.{name}"] for k in ("step", "exp_avg", "exp_avg_sq")}
            self.optimiser.state[parameter] = {
                k: v if k == "step" else self.layout.part(v, parameter) for k, v in found.items()
            }


def trained_names(model: DynamiCrafter, groups: Sequence[str]) -> list[str]:
    """Parameters of the named groups, in the model's own order. Raises ValueError for an unknown or empty choice."""
    known = model.parameter_groups()
    unknown = [g for g in groups if g not in known]
    if unknown:
        raise ValueError(f"train.groups names {', '.join(unknown)}. Known: {', '.join(known)}.")
    chosen = {name for group in groups for name in known[group]}
    names = [name for name, _ in model.named_parameters() if name in chosen]
    if not names:
        raise ValueError(f"train.groups {', '.join(groups)} holds no parameter of this model: nothing would be trained")
    return names


def train(
    model: DynamiCrafter,
    data: Encoded,
    settings: TrainSettings,
    scratch: Path,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
    precision: str = "float32",
) -> list[Line]:
    """Trains `model` in place to the end of the stage; see `train_stage`."""
    return train_stage(Stage(model, data, settings, precision), scratch, progress)


def train_stage(
    stage: Stage, scratch: Path, progress: Callable[[int, int, str], None] = lambda done, total, note: None
) -> list[Line]:
    """Trains to the end of the stage, from the last checkpoint in `scratch` if there is one. Every rank calls it.

    Returns the curve: one line per `log_every` steps with the mean loss since the last line, the learning rate, the
    gradient norm and lambda of every layer. Raises FloatingPointError when the loss is not a number any more.
    """
    settings, model = stage.settings, stage.model
    curve, window = _resume(stage, scratch)
    while stage.done < settings.steps:
        line = stage.step()
        window.append(line["loss"])
        if stage.done % settings.log_every == 0 or stage.done == settings.steps:
            line["loss"] = sum(window) / len(window)
            curve.append({"stage": settings.stage, **line, "image_scale": model.image_scales()})
            window.clear()
        if stage.done % settings.checkpoint_every == 0 and stage.done < settings.steps:
            _checkpoint(stage, curve, window, scratch)
        progress(stage.done, settings.steps, f"loss {line['loss']:.3f}")
    stage.ranks.agree(json.dumps(curve[-1:]), f"the last line of stage {settings.stage}")
    stage.finish()
    return curve


def _checkpoint(stage: Stage, curve: list[Line], window: list[float], scratch: Path) -> None:
    """Rank 0 saves the state, when all ranks have come to the same numbers."""
    card = {"curve": json.dumps(curve), "window": json.dumps(window)}
    stage.ranks.agree(json.dumps([curve[-1:], window]), f"step {stage.done} of stage {stage.settings.stage}")
    state = stage.state()
    if stage.ranks.first:
        save_tensors(state, scratch / STATE, card)


def _resume(stage: Stage, scratch: Path) -> tuple[list[Line], list[float]]:
    """Back to the last checkpoint, which all ranks must see."""
    path = scratch / STATE
    tensors = load_tensors(path) if path.exists() else {}
    stage.ranks.agree(str(int(tensors.get("done", torch.tensor(0)))), f"the checkpoint {path} (steps done)")
    if not tensors:
        return [], []
    stage.restore(tensors)
    card = read_card(path)
    return json.loads(card["curve"]), json.loads(card["window"])
