"""How fast is the model beside the same network written plainly (bench/speed_plain.py), here and now?

Random weights; both ways take turns on the same inputs and the least time of each counts, so that a busy machine slows
both alike. On a CPU processor seconds of one thread, or seconds by the clock of several; on a GPU seconds by the clock
in the arithmetic asked for. Operations are counted by formula (models/flops.py); the floor is what a GPU would take for
them at its whole peak rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench import speed_plain
from bench.costs import GPUS
from bench.metrics.speed import Race
from bench.precision import arithmetic
from bench.profile import load_profile, model_preset
from bench.variants import Budget, Settings, chain
from models import flops
from models.config import ModelConfig, SamplerConfig
from models.dynamicrafter import DynamiCrafter
from models.guidance import guidance_of
from models.losses import Draws, Network, Nulls, TrainBatch, training_loss
from models.pipeline import Conditions, guided_denoiser
from models.sampler import sample_ddim
from models.schedule import Schedule

FLOORS = ("a100", "h200")  # whose floors are printed


@dataclass(frozen=True)
class Setting:
    """A model with random weights, its inputs, and how many clips at once."""

    model: DynamiCrafter
    sampler: SamplerConfig
    clips: int
    device: str
    precision: str

    def latent(self, frames: int) -> Tensor:
        """Random latents (B, 4, frames, h, w)."""
        c = self.model.config
        factor = c.autoencoder.downsampling
        shape = (self.clips, c.unet.out_channels, frames, c.height // factor, c.width // factor)
        return torch.randn(shape, device=self.device)

    def conditions(self) -> Conditions:
        """Random conditions; those of the empty prompt and of no image are shared by all clips."""
        c = self.model.config
        text, image = (c.clip.text_length, c.clip.text_width), (c.clip.image_tokens, c.clip.vision_width)
        rows = [torch.randn(n, *shape, device=self.device) for n in (self.clips, 1) for shape in (text, image)]
        frames = 2 if c.visual_detail_guidance == "first_and_last" else 1
        return Conditions(self.latent(frames), rows[0], rows[1], rows[2], rows[3])

    def rates(self) -> Tensor:
        """What the model is told of the clips' speed."""
        return torch.full((self.clips,), self.model.config.unet.default_fps, device=self.device)


def setting(
    size: str, device: str, precision: str = "float32", clips: int = 1, steps: int | None = None, channels: int = 0
) -> Setting:
    """A profile's model and sampler.

    Args:
        size: a profile's name or path.
        steps: of the sampler; None: the profile's.
        channels: of the U-Net's first level; 0: as the model has them.
    """
    profile = load_profile(size)
    model = model_preset(profile.model)
    if channels:
        model = replace(model, unet=replace(model.unet, model_channels=channels))
    torch.manual_seed(0)
    with torch.device(device):
        built = DynamiCrafter(model)
    for name, parameter in built.named_parameters():  # the layers that start at zero would hide what goes wrong
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02 if name.endswith("weight") else 0.1)
    sampler = profile.sampling.config if steps is None else replace(profile.sampling.config, steps=steps)
    return Setting(built.eval(), replace(sampler, eta=0.0), clips, device, precision)


# ---- what is raced ----


def forward_race(given: Setting) -> Race:
    """One evaluation of the U-Net, context and all, no guidance."""
    unet, conditions = given.model.unet, given.conditions()
    context = given.model.context(conditions.text, conditions.image_tokens, conditions.latent)
    context = {name: tokens.detach() for name, tokens in context.items()}
    x = given.model.detail(given.latent(given.model.config.frames), conditions.latent)
    t = torch.full((given.clips,), 500, device=given.device)
    return _race(
        "U-Net, one evaluation",
        given,
        lambda: unet(x, t, context, given.rates()),
        lambda: speed_plain.denoise(unet, x, t, context, given.rates()),
    )


def sampling_race(given: Setting) -> Race:
    """Latents of whole clips: every step, every branch of guidance."""
    guidance, conditions = guidance_of(given.sampler), given.conditions()
    noise = given.latent(given.model.config.frames)
    schedule = Schedule(given.model.config.diffusion).to(given.device)

    def sampled(denoise: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return sample_ddim(denoise, schedule, given.sampler, noise)

    def ours() -> Tensor:
        rates = given.rates()
        return sampled(guided_denoiser(given.model, guidance, conditions, rates, given.model.config.frames))

    def plain() -> Tensor:
        return sampled(speed_plain.guided_denoiser(given.model, guidance, conditions, given.rates(), guidance.branches))

    return _race(f"latents, {given.sampler.steps} steps x {len(guidance.branches)} branches", given, ours, plain)


def training_race(given: Setting) -> Race:
    """Loss and gradients of stage iii."""
    trained = stage_groups(given.model.config)
    names = {name for group in trained for name in given.model.parameter_groups()[group]}
    conditions, frames = given.conditions(), given.model.config.frames
    batch = TrainBatch(given.latent(frames), conditions.latent, conditions.text, conditions.image_tokens, given.rates())
    draws = Draws(
        torch.full((given.clips,), 400, device=given.device),
        given.latent(frames),
        torch.full((given.clips,), 0.9, device=given.device),
    )
    nulls = Nulls(conditions.null_text, conditions.null_image_tokens)
    schedule = Schedule(given.model.config.diffusion).to(given.device)
    parameters = dict(given.model.named_parameters())

    def gradients(network: Network) -> Tensor:
        for name, parameter in parameters.items():
            parameter.grad = None
            parameter.requires_grad_(name in names)
        with torch.enable_grad():
            training_loss(network, schedule, batch, draws, nulls, 0.05).value.backward()
        norms = [p.grad.norm() for p in parameters.values() if p.grad is not None]
        return torch.stack(norms)

    plain = speed_plain.PlainModel(given.model)
    return _race(
        "training, loss and gradients of stage iii", given, lambda: gradients(given.model), lambda: gradients(plain)
    )


def stage_groups(model: ModelConfig) -> tuple[str, ...]:
    """Parameter groups that stage iii of the full model trains."""
    return list(chain(model, Settings(), Budget(1, 1, 1)))[-1].groups


def _race(name: str, given: Setting, ours: Callable[[], Tensor], plain: Callable[[], Tensor]) -> Race:
    def way(function: Callable[[], Tensor]) -> Callable[[], Any]:
        def run() -> Any:
            with torch.no_grad(), arithmetic(given.precision, given.device):
                out = function()
            return out.detach().float().cpu().numpy()  # waits for a GPU

        return run

    return Race(name, way(ours), {"plain": way(plain)})


def clock_of(device: str) -> Callable[[], float]:
    """Processor seconds of one thread; else seconds by the clock."""
    alone = torch.device(device).type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


RACES: tuple[Callable[[Setting], Race], ...] = (forward_race, sampling_race, training_race)


def counted(model: ModelConfig, sampler: SamplerConfig) -> list[str]:
    """A Markdown table: operations of a forward pass, of a sample and of a training step, ours and plain; floors."""
    branches = len(guidance_of(sampler).branches)
    of_text = sum(op.flops for op in flops.unet_ops(model) if op.stream == "text")
    plain = flops.forward_flops(model) + (model.frames - 1) * of_text
    decoding = model.frames * flops.decoding_flops(model.autoencoder, model.height, model.width)
    sample = flops.sampling_flops(model, sampler.steps, branches)
    projector = branches * sum(op.flops for op in flops.projector_ops(model))
    plain_sample = sampler.steps * branches * plain + projector + decoding
    training = flops.training_flops(model, stage_groups(model))
    rows = [
        ("U-Net, one evaluation", flops.forward_flops(model), plain),
        (f"a clip, {sampler.steps} steps x {branches} branches, decoded", sample, plain_sample),
        ("training, one clip, stage iii", training, None),
    ]
    floors = [f"{name} at {GPUS[name].peak / 1e12:g} TFLOP/s" for name in FLOORS]
    lines = [
        f"| TFLOP | ours | plain | {' | '.join(f'floor, {f}' for f in floors)} |",
        "|---" * (3 + len(floors)) + "|",
    ]
    for name, ours, other in rows:
        least = [f"{ours / GPUS[gpu].peak:.3g} s" for gpu in FLOORS]
        told = f"{other / 1e12:.4g}" if other else "-"
        lines.append(f"| {name} | {ours / 1e12:.4g} | {told} | {' | '.join(least)} |")
    return lines
