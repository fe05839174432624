"""Which priors there are, in what order they are made, and the card that each is shipped with."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.pretrain.clip import CLIP, train_clip
from bench.pretrain.data import PriorWorld, prior_world
from bench.pretrain.fit import Budget
from bench.pretrain.generator import T2I, T2V, stage_i_budget, train_stage_i, train_t2i, train_t2v
from bench.pretrain.last_stage import BUDGETS, train_last_stage
from bench.pretrain.latents import VAE, train_autoencoder
from bench.pretrain.measuring import CLASSIFIER, PERCEPTUAL, train_classifier, train_perceptual
from models.presets import tiny
from models.weights import save_tensors

WEIGHTS = Path("weights/tiny")
SCRATCH = Path("runs/pretrain")
VIDEOS = 5000
Log = Callable[[str], None]
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where the making of a prior finds what it needs."""

    world: PriorWorld
    weights: Path
    scratch: Path
    log: Log


Make = Callable[[Place], tuple[Mapping[str, Tensor], Figures]]  # -> the weights and what the card says of them


@dataclass(frozen=True)
class Prior:
    """One shipped network: what it is, how it is made and for how long."""

    what: str
    make: Make
    budget: Budget


def _classifier(place: Place) -> tuple[Mapping[str, Tensor], Figures]:
    module, figures = train_classifier(place.world, place.log)
    return module.state_dict(), figures


def _perceptual(place: Place) -> tuple[Mapping[str, Tensor], Figures]:
    module, figures = train_perceptual(place.world, place.log)
    return module.state_dict(), figures


def _vae(place: Place) -> tuple[Mapping[str, Tensor], Figures]:
    module, figures = train_autoencoder(place.world, tiny().autoencoder, place.log)
    return module.state_dict(), figures


def _clip(place: Place) -> tuple[Mapping[str, Tensor], Figures]:
    module, figures = train_clip(place.world, tiny().clip, place.log)
    return module.state_dict(), figures


def _stage_i(kind: str) -> Make:
    def make(place: Place) -> tuple[Mapping[str, Tensor], Figures]:
        return train_stage_i(kind, place.world, place.weights, place.scratch, place.log)

    return make


def _last_stage(name: str) -> Make:
    def make(place: Place) -> tuple[Mapping[str, Tensor], Figures]:
        return train_last_stage(name, place.world, place.weights, place.scratch, place.log)

    return make


OF_STAGE_I = "P, image keys and values and lambda"
OF_TOKENS = "what makes context tokens of the image"
PRIORS: dict[str, Prior] = {
    "classifier": Prior(
        "video classifier of the procedural world; its 64 features stand in for I3D's logits in FVD and KVD",
        _classifier,
        CLASSIFIER,
    ),
    "perceptual": Prior(
        "perceptual embedding of 32 x 32 images; 1 - cosine stands in for DreamSim's distance in PIC",
        _perceptual,
        PERCEPTUAL,
    ),
    "vae": Prior("KL autoencoder, 32 x 32 frames to 8 x 8 latents of four channels", _vae, VAE),
    "clip": Prior("text and image encoder pair, CLIP's architecture", _clip, CLIP),
    "t2i": Prior(
        "text-to-image U-Net, the place of Stable Diffusion 2.1",
        lambda p: train_t2i(p.world, p.weights, p.scratch, p.log),
        T2I,
    ),
    "t2v": Prior(
        "text-to-video U-Net, the place of VideoCrafter",
        lambda p: train_t2v(p.world, p.weights, p.scratch, p.log),
        T2V,
    ),
    **{
        f"stage_i_{kind}": Prior(
            f"{words[0]} after stage i: {words[1]}", _stage_i(kind), stage_i_budget()
        )
        for kind, words in {
            "learned": (OF_STAGE_I, "the full model"),
            "fixed": (OF_STAGE_I, "lambda fixed at 1 (w/o λ)"),
            "global_token": (OF_STAGE_I, "one global token (Ours_G)"),
            "one_stage": (OF_STAGE_I, "on the video model from the start (one stage)"),
            "videocomposer": (OF_TOKENS, "one embedding beside the text (VideoComposer)"),
            "i2vgen_xl": (OF_TOKENS, "an embedding and its details (I2VGen-XL)"),
        }.items()
    },
    **{
        name: Prior(
            f"what stage iii trains when it is shown {words}; the temporal layers are t2v's",
            _last_stage(name),
            BUDGETS[name],
        )
        for name, words in {
            "interpolation": "the first and the last frame",
            "animation": "the first frame, in a longer stage than the variants of a question get",
        }.items()
    },
}


def make(name: str, log: Log) -> Path:
    """Trains one prior and writes its weights, in half precision, and its card.

    Raises ValueError for a name that is none of PRIORS.
    """
    if name not in PRIORS:
        raise ValueError(f"no prior is called {name!r}. Known: {', '.join(PRIORS)}.")
    torch.set_num_threads(1)
    prior = PRIORS[name]
    place = Place(prior_world(SCRATCH, VIDEOS), WEIGHTS, SCRATCH, lambda text: log(f"{name}: {text}"))
    started, cpu = time.time(), time.process_time()
    state, figures = prior.make(place)
    cost = f"{time.process_time() - cpu:.0f} CPU s, {time.time() - started:.0f} s on one {platform.machine()} core"
    return _ship(name, state, card(name, state, figures, cost))


def card(name: str, state: Mapping[str, Tensor], figures: Figures, cost: str) -> dict[str, str]:
    """What a reader should know of a shipped network."""
    prior = PRIORS[name]
    return {
        "name": name,
        "what": prior.what,
        "figures": ", ".join(f"{k} {v}" for k, v in figures.items()),
        "parameters": f"{sum(v.numel() for v in state.values()):,}, stored in half precision",
        "data": f"{VIDEOS} procedural videos of a world of their own, 400 of them held out (bench/pretrain/data.py)",
        "budget": f"{prior.budget.steps} steps of {prior.budget.batch}, AdamW at {prior.budget.learning_rate:g}, "
        f"seed {prior.budget.seed}",
        "cost": cost,
        "command": f"python -m bench pretrain {name}",
        "license": "Apache-2.0; made from nothing but this repository",
    }


def _ship(name: str, state: Mapping[str, Tensor], told: dict[str, str]) -> Path:
    path = WEIGHTS / f"{name}.safetensors"
    save_tensors({k: v.half() for k, v in state.items() if v.is_floating_point()}, path, told)
    lines = [f"# {name}", "", *(f"- **{k}**: {v}" for k, v in told.items() if k != "name"), ""]
    path.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    return path
