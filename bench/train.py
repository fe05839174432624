"""The training loop of a stage: what is drawn, in which order it is added up, and how it resumes.

Deterministic to the byte on one kind of machine: every step's draws come from a generator of their own; gradients are
those of fixed micro-batches, added in a fixed order; the state on disk is the whole state. Draws depend on the seed,
the stage and the step alone, so that variants which go through a stage see the same clips, frames, noise and dropped
conditions in it. Shapes: B clips of a step, T frames, h x w latent sites.
Source: DynamiCrafter, arXiv:2310.12190, section 3.3; objective in `models/losses.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.encoded import Encoded
from bench.precision import arithmetic
from bench.seeding import generator, normal
from models.dynamicrafter import DynamiCrafter
from models.losses import Draws, Nulls, TrainBatch, training_loss
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

    def __post_init__(self) -> None:
        if self.batch % self.micro_batch:
            raise ValueError(f"train.batch {self.batch} is no multiple of micro_batch {self.micro_batch}")


def draw_step(
    data: Encoded, settings: TrainSettings, step: int, timesteps: int, ends: bool = False
) -> tuple[TrainBatch, Draws]:
    """The clips and the random numbers of one step.

    `ends`: the model is shown the first and the last latent; its image tokens are the first frame's, as in the
    official interpolation model.
    """
    rng = generator(settings.seed, "train", settings.stage, step)
    frames = data.mean.shape[2]
    index = torch.from_numpy(rng.integers(0, len(data), settings.batch))
    chosen = torch.from_numpy(rng.integers(0, frames, settings.batch))
    posterior = normal(rng, tuple(data.mean[index].shape))
    latent = data.mean[index] + data.std[index] * posterior
    condition_at = torch.zeros_like(chosen) if ends or settings.condition_frame == "first" else chosen
    rows = torch.arange(settings.batch)
    condition = latent[:, :, [0, -1]] if ends else latent[rows, :, condition_at][:, :, None]
    tokens = data.image_tokens[index, condition_at].float()
    shown = condition if settings.images else latent
    batch = TrainBatch(shown, condition, data.text[index].float(), tokens, data.fs[index])
    t = torch.from_numpy(rng.integers(0, timesteps, settings.batch))
    dropout = torch.from_numpy(rng.uniform(size=settings.batch))
    return batch, Draws(t, normal(rng, tuple(latent.shape))[:, :, : shown.shape[2]], dropout)


def _rows(item: Any, part: slice, device: torch.device) -> Any:
    """Some rows of a batch or of its draws, where the model is; draws are made on the CPU whatever the device."""
    return type(item)(**{name: getattr(item, name)[part].to(device) for name in item.__dataclass_fields__})


def learning_rate(settings: TrainSettings, done: int) -> float:
    """The rate of the step after `done` steps: a linear warm-up, then linearly down to `final_rate` of it."""
    warm = min(1.0, (done + 1) / max(settings.warmup, 1))
    left = 1 - (1 - settings.final_rate) * done / max(settings.steps - 1, 1)
    return settings.learning_rate * warm * left


class Stage:
    """A model, what of it is trained, and the optimiser; knows how to make one step and how to be saved."""

    def __init__(
        self, model: DynamiCrafter, data: Encoded, settings: TrainSettings, precision: str = "float32"
    ) -> None:
        self.model, self.data, self.settings, self.precision = model.train(), data, settings, precision
        self.ends = model.config.visual_detail_guidance == "first_and_last"
        self.device = next(model.parameters()).device
        self.schedule = Schedule(model.config.diffusion).to(self.device)
        self.nulls = Nulls(data.null_text.float().to(self.device), data.null_image_tokens.float().to(self.device))
        self.names = trained_names(model, settings.groups)
        parameters = dict(model.named_parameters())
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in self.names)
        self.trained = [parameters[name] for name in self.names]
        self.optimiser = torch.optim.AdamW(self.trained, settings.learning_rate, foreach=False)
        self.done = 0

    def step(self) -> Line:
        """One optimiser step; returns its loss, learning rate and gradient norm."""
        s = self.settings
        batch, draws = draw_step(self.data, s, self.done, self.model.config.diffusion.steps, self.ends)
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for start in range(0, s.batch, s.micro_batch):  # fixed shapes, fixed order
            part = slice(start, start + s.micro_batch)
            shown, drawn = _rows(batch, part, self.device), _rows(draws, part, self.device)
            with arithmetic(self.precision, self.device.type):
                loss = training_loss(self.model, self.schedule, shown, drawn, self.nulls, s.uncond_prob)
            share = loss.per_sample.sum() / s.batch
            share.backward()
            total += share.item()
        norm = nn.utils.clip_grad_norm_(self.trained, s.clip_norm, foreach=False).item()
        if not (torch.isfinite(torch.tensor(total)) and torch.isfinite(torch.tensor(norm))):
            raise FloatingPointError(
                f"stage {s.stage}, step {self.done + 1}: loss {total}, gradient norm {norm}. It would come out the "
                "same again: lower stages.learning_rate in the profile, or look at the weights that it started from"
            )
        rate = learning_rate(s, self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.done += 1
        return {"step": self.done, "loss": total, "lr": rate, "grad_norm": norm}

    def state(self) -> dict[str, Tensor]:
        """Everything that the rest of the stage depends on."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for name, parameter in zip(self.names, self.trained, strict=True):
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{key}.{name}"] = value
        return {**tensors, "done": torch.tensor(self.done)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Back to where `state` was taken."""
        self.done = int(tensors["done"])
        of_model = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        self.model.load_state_dict(of_model, strict=True)
        for name, parameter in zip(self.names, self.trained, strict=True):
            found = {k: tensors[f"optimiser.{k}.{name}"] for k in ("step", "exp_avg", "exp_avg_sq")}
            self.optimiser.state[parameter] = {k: v if k == "step" else v.to(self.device) for k, v in found.items()}


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
    """Trains `model` in place to the end of the stage, from the last checkpoint in `scratch` if there is one.

    Returns the curve: one line per `log_every` steps with the mean loss since the last line, the learning rate, the
    gradient norm and lambda of every layer. Raises FloatingPointError when the loss is not a number any more.
    """
    stage = Stage(model, data, settings, precision)
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
    model.eval()
    return curve


def _checkpoint(stage: Stage, curve: Iterable[Line], window: Iterable[float], scratch: Path) -> None:
    card = {"curve": json.dumps(list(curve)), "window": json.dumps(list(window))}
    save_tensors(stage.state(), scratch / STATE, card)


def _resume(stage: Stage, scratch: Path) -> tuple[list[Line], list[float]]:
    path = scratch / STATE
    if not path.exists():
        return [], []
    stage.restore(load_tensors(path))
    card = read_card(path)
    return json.loads(card["curve"]), json.loads(card["window"])
