"""Trains the tiny models that animate pictures without any training: a long stage iii, on the priors' own world.

interpolation  shown the first and the last frame: between two pictures, and loops
animation      shown the first frame: what `animate` and `story` use

A clip that is to keep to given pictures needs a longer stage iii than the variants of a question get, so what it
trains ships: P, the image stream, lambda and the spatial layers; the temporal layers are the text-to-video parent's,
as the paper leaves them. Source: DynamiCrafter, arXiv:2310.12190, section 3.3; the official interpolation model.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.pretrain.data import PriorWorld
from bench.pretrain.fit import Budget
from bench.pretrain.generator import STAGE_I_SEED, encode_world
from bench.profile import load_profile
from bench.seeding import torch_seed
from bench.steps.train import ADOPTED
from bench.train import TrainSettings, train
from bench.variants import Budget as Stages
from bench.variants import Settings, Stage, chain
from models.dynamicrafter import DynamiCrafter, parameter_group
from models.initialise import inherit
from models.presets import tiny
from models.weights import load_tensors

Log = Callable[[str], None]
LAST_STAGE = {  # what the model is shown, straight from the parent; the condition is the clip's first frame
    "interpolation": Settings(visual_detail_guidance="first_and_last", schedule="no_adaptation"),
    "animation": Settings(schedule="no_adaptation"),
}
BUDGETS = {
    "interpolation": Budget(steps=1500, learning_rate=1e-3, seed=44, batch=8, warmup=50),
    "animation": Budget(steps=1500, learning_rate=1e-3, seed=45, batch=8, warmup=50),
}
FINAL_RATE = 0.05


def last_stage(name: str) -> Stage:
    """Stage iii of the tiny model, for "interpolation" or "animation"."""
    return chain(tiny(), LAST_STAGE[name], Stages(0, 0, BUDGETS[name].steps))[-1]


def train_last_stage(
    name: str, world: PriorWorld, weights: Path, scratch: Path, log: Log
) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """What the stage trains, in the loop of the benchmark; starts from t2v and the learned stage i."""
    stage, settings = last_stage(name), _settings(name)
    torch.manual_seed(torch_seed(STAGE_I_SEED, "init"))
    model = DynamiCrafter(stage.model)
    inherit(model, load_tensors(weights / "t2v.safetensors"))
    learned = load_tensors(weights / "stage_i_learned.safetensors")
    inherit(model, for_every_frame({k: v for k, v in learned.items() if parameter_group(k) in ADOPTED}, model))
    data = encode_world(world, weights, scratch / "encoded", log)
    folder = scratch / f"{name}-{hashlib.sha256(repr((stage, settings)).encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)

    def progress(done: int, total: int, note: str) -> None:
        if done % 200 == 0 or done == total:
            log(f"step {done}/{total}  {note}")

    curve = train(model, data, settings, folder, progress)
    shutil.rmtree(folder)
    state = {k: v for k, v in model.state_dict().items() if parameter_group(k) in stage.groups}
    return state, {"loss of the last 200 steps": round(curve[-1]["loss"], 4)}


def for_every_frame(state: Mapping[str, Tensor], model: DynamiCrafter) -> dict[str, Tensor]:
    """P's queries as learned on single images (1, Q, D), repeated for the frames of a clip (1, T Q, D)."""
    own = model.state_dict()
    return {k: v.repeat(1, own[k].shape[1] // v.shape[1], 1) if k.endswith("queries") else v for k, v in state.items()}


def _settings(name: str) -> TrainSettings:
    stage, budget, profile = last_stage(name), BUDGETS[name], load_profile("tiny").stages
    return TrainSettings(
        stage=stage.name,
        seed=budget.seed,
        steps=budget.steps,
        batch=budget.batch,
        micro_batch=budget.batch,
        learning_rate=budget.learning_rate,
        warmup=budget.warmup,
        final_rate=FINAL_RATE,
        clip_norm=profile.clip_norm,
        uncond_prob=profile.uncond_prob,
        log_every=200,
        checkpoint_every=200,
        images=stage.images,
        condition_frame="first",
        groups=stage.groups,
    )
