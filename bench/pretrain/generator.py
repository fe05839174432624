"""Trains the parents that DynamiCrafter starts from, and P after stage i, on the priors' own world.

t2i  the text-to-image model (Stable Diffusion's place), single frames
t2v  the text-to-video model (VideoCrafter's place), from t2i, clips at several frame strides
stage_i_*  P, the image stream's keys and values and lambda after a long stage i on t2i, with the very loop of the
     benchmark (`bench/train.py`); `stage_i_one_stage` is what the one-stage schedule does in as many steps, on t2v
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.encoded import FILE, Encoded, load_encoded
from bench.pretrain.data import HELD_OUT, STRIDES, PriorWorld
from bench.pretrain.fit import Budget, fit
from bench.pretrain.probes import MotionProbe
from bench.profile import Stages, load_profile
from bench.seeding import torch_seed
from bench.steps.encode import ClipEncoder
from bench.train import TrainSettings, train
from bench.variants import Settings, Stage, chain
from models.autoencoder import Autoencoder
from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter, parameter_group, text_to_image, text_to_video
from models.encoders import ImageEncoder, TextEncoder
from models.initialise import inherit
from models.losses import Draws, Nulls, TrainBatch, training_loss
from models.presets import tiny
from models.schedule import Schedule
from models.weights import load_module, load_state, load_tensors, sha256

Log = Callable[[str], None]
Figures = Mapping[str, Any]
T2I = Budget(steps=4000, learning_rate=1e-3, seed=41, batch=48, warmup=200, ema_decay=0.998)
T2V = Budget(steps=3500, learning_rate=1e-3, seed=42, batch=16, warmup=200, ema_decay=0.998)
STAGE_I_SEED = 43
UNCOND_PROB = 0.05


def encode_world(world: PriorWorld, weights: Path, stored: Path, log: Log) -> Encoded:
    """One clip of every video that is not held out, at a random stride, encoded once and kept.

    Kept under the encoders' hashes: another autoencoder or CLIP pair has latents of its own.
    """
    stored = stored.with_name(f"{stored.name}-{sha256(weights / 'vae.safetensors')[:8]}"
                              f"-{sha256(weights / 'clip.safetensors')[:8]}")
    if not (stored / FILE).exists():
        rng = np.random.default_rng(7)
        index = np.arange(len(world.scenes) - HELD_OUT)
        strides = rng.choice(STRIDES, len(index))
        frames = world.clip_uint8(index, 8, strides, rng)
        items = [
            {"prompt": world.captions[i], "frame_stride": int(s)} for i, s in zip(index, strides, strict=True)
        ]
        log(f"encoding {len(index)} clips")
        stored.mkdir(parents=True, exist_ok=True)
        encoder(weights)(frames, items, 64).save(stored)
    return load_encoded(stored)


def encoder(weights: Path) -> ClipEncoder:
    """The shipped autoencoder and CLIP pair."""
    autoencoder = Autoencoder(tiny().autoencoder)
    load_module(autoencoder, weights / "vae.safetensors")
    state = load_tensors(weights / "clip.safetensors")
    image, text = ImageEncoder(tiny().clip), TextEncoder(tiny().clip)
    load_state(image, image.weights_from(state), "clip")
    load_state(text, text.weights_from(state), "clip")
    return ClipEncoder(autoencoder, image, text)


def train_t2i(world: PriorWorld, weights: Path, scratch: Path, log: Log) -> tuple[Mapping[str, Tensor], Figures]:
    """The text-to-image parent."""
    data = encode_world(world, weights, scratch / "encoded", log)
    model = train_parent(data, text_to_image(tiny()), T2I, frames=1, parent=None, log=log)
    return model.state_dict(), {"denoising loss on training clips": _mean_loss(model, data, frames=1)}


def train_t2v(world: PriorWorld, weights: Path, scratch: Path, log: Log) -> tuple[Mapping[str, Tensor], Figures]:
    """The text-to-video parent, from t2i; its card says how often its samples move as the caption asks."""
    data = encode_world(world, weights, scratch / "encoded", log)
    probe = MotionProbe(world, encoder(weights), weights)
    parent = weights / "t2i.safetensors"
    model = train_parent(data, text_to_video(tiny()), T2V, frames=8, parent=parent, log=log, probe=probe)
    final = MotionProbe(world, encoder(weights), weights, count=192)
    assert isinstance(model, DynamiCrafter)
    figures = {
        "denoising loss on training clips": _mean_loss(model, data, frames=8),
        "samples that move as asked": round(final.accuracy(model), 3),
        "real clips seen to move as captioned": round(final.real_accuracy, 3),
        "loss added by a wrong motion word at t=900": round(final.word_gap(model), 4),
    }
    return model.state_dict(), figures


def train_parent(
    data: Encoded,
    config: ModelConfig,
    budget: Budget,
    frames: int,
    parent: Path | None,
    log: Log,
    probe: Callable[[nn.Module], str] | None = None,
) -> nn.Module:
    """A text-conditioned diffusion model of `frames` (1 or all) frames, from `parent`'s weights when given."""
    schedule = Schedule(config.diffusion)
    nulls = Nulls(data.null_text.float(), data.null_image_tokens.float())
    torch.manual_seed(budget.seed)
    model = DynamiCrafter(config)
    if parent is not None:
        inherit(model, load_tensors(parent))

    def loss(module: nn.Module, step: int, rng: np.random.Generator) -> Tensor:
        assert isinstance(module, DynamiCrafter)
        batch, draws = _draw(data, budget.batch, frames, config.diffusion.steps, rng)
        return training_loss(module, schedule, batch, draws, nulls, UNCOND_PROB).value

    return fit(model, loss, budget, log, probe=probe, every=250)


def _draw(
    data: Encoded, size: int, frames: int, steps: int, rng: np.random.Generator
) -> tuple[TrainBatch, Draws]:
    index = torch.from_numpy(rng.integers(0, len(data), size))
    latent = data.mean[index] + data.std[index] * torch.randn(data.mean[index].shape)
    if frames == 1:
        at = torch.from_numpy(rng.integers(0, latent.shape[2], size))
        latent = latent[torch.arange(size), :, at][:, :, None]
    text, tokens = data.text[index].float(), data.image_tokens[index, 0].float()
    batch = TrainBatch(latent, latent[:, :, :1], text, tokens, data.fs[index])
    # stratified timesteps: every batch sees the whole range, which steadies the loss
    places = (rng.permutation(size) + rng.uniform(size=size)) / size
    t = torch.from_numpy((places * steps).astype(np.int64).clip(0, steps - 1))
    return batch, Draws(t, torch.randn(latent.shape), torch.from_numpy(rng.uniform(size=size)))


@torch.no_grad()
def _mean_loss(model: nn.Module, data: Encoded, frames: int) -> float:
    assert isinstance(model, DynamiCrafter)
    schedule, rng = Schedule(model.config.diffusion), np.random.default_rng(0)
    nulls = Nulls(data.null_text.float(), data.null_image_tokens.float())
    torch.manual_seed(0)
    values = []
    for _ in range(4):
        batch, draws = _draw(data, 64, frames, model.config.diffusion.steps, rng)
        values.append(training_loss(model, schedule, batch, draws, nulls, 0.0).value.item())
    return round(float(np.mean(values)), 4)


STAGE_I = {  # what of the full model differs in each shipped stage i
    "learned": Settings(),
    "fixed": Settings(image_scale="fixed"),
    "global_token": Settings(context="global_token"),
    "one_stage": Settings(schedule="one_stage"),
    "videocomposer": Settings(context="beside_text"),
    "i2vgen_xl": Settings(context="hierarchical"),
}


def stage_i_budget() -> Budget:
    """Steps, batch and learning rate of stage i in the tiny profile, which ships its result."""
    stages = load_profile("tiny").stages
    return Budget(
        steps=stages.i.steps,
        learning_rate=stages.i.learning_rate or stages.learning_rate,
        seed=STAGE_I_SEED,
        batch=stages.i.batch or stages.batch,
    )


def train_stage_i(
    kind: str, world: PriorWorld, weights: Path, scratch: Path, log: Log
) -> tuple[Mapping[str, Tensor], Figures]:
    """What stage i trains, for one kind of it, in the loop and with the settings of the tiny profile."""
    profile = load_profile("tiny").stages
    stage = chain(tiny(), STAGE_I[kind], profile.budget)[0]
    torch.manual_seed(torch_seed(STAGE_I_SEED, "init"))
    model = DynamiCrafter(stage.model)
    inherit(model, load_tensors(weights / f"{stage.parent}.safetensors"))
    data = encode_world(world, weights, scratch / "encoded", log)
    settings = _stage_i_settings(stage, profile)
    reports = max(1, settings.steps // 20)

    def progress(done: int, total: int, note: str) -> None:
        if done % reports == 0 or done == total:
            log(f"step {done}/{total}  {note}")

    folder = scratch / f"stage_i_{kind}-{hashlib.sha256(repr((stage, settings)).encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    curve = train(model, data, settings, folder, progress)
    shutil.rmtree(folder)
    state = {k: v for k, v in model.state_dict().items() if parameter_group(k) in stage.groups}
    scales = [round(v, 3) for v in model.image_scales().values()]
    return state, {"last loss": round(curve[-1]["loss"], 4), **({"lambda per layer": scales} if scales else {})}


def _stage_i_settings(stage: Stage, profile: Stages) -> TrainSettings:
    budget = stage_i_budget()
    return TrainSettings(
        stage=stage.name,
        seed=STAGE_I_SEED,
        steps=budget.steps,
        batch=budget.batch,
        micro_batch=profile.i.micro_batch or profile.micro_batch,
        learning_rate=budget.learning_rate,
        warmup=profile.warmup,
        final_rate=profile.final_rate,
        clip_norm=profile.clip_norm,
        uncond_prob=profile.uncond_prob,
        log_every=max(1, budget.steps // 40),
        checkpoint_every=500,
        images=stage.images,
        condition_frame="random",
        groups=stage.groups,
    )
