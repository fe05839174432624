"""Step `train`: one training stage of one variant, from its parent's weights (see `bench/train.py`)."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from bench.encoded import Encoded, load_encoded, retold
from bench.precision import of_step
from bench.seeding import torch_seed
from bench.stream import Streaming, set_aside
from bench.train import Line, Stage, TrainSettings, train_stage
from bench.variants import model_from_json
from bench.work import Work
from models.dynamicrafter import DynamiCrafter, parameter_group
from models.initialise import inherit
from models.parents import open_parent
from models.weights import load_tensors, save_tensors

VERSION = 1
SHARED = True  # ranks take micro-batches in turn
ADOPTED = ("projector", "image_stream", "lambda")  # what stage i trains and the video model takes over
FRESH = ("detail",)  # what the last stage adds, drawn anew: nothing before it has such a part
FILE = "model.safetensors"


def run(work: Work) -> None:
    """Trains the stage and leaves model.safetensors, curve.jsonl and summary.json."""
    settings = settings_from(work.config)
    model = starting_point(work).to(work.device)
    stage = Stage(model, training_set(work), settings, of_step(work.config), work.ranks)
    try:
        curve = train_stage(stage, work.scratch, work.progress)
    finally:
        stage.source.close()
    weights = stage.weights()
    if not work.ranks.first:
        return
    save_tensors(weights, work.out / FILE)
    (work.out / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curve))
    (work.out / "summary.json").write_text(json.dumps(summary(model, curve), indent=1))
    if "shards" in work.inputs:
        (work.out / "set_aside.json").write_text(json.dumps(set_aside(work.scratch), indent=1))


def training_set(work: Work) -> Encoded | Streaming:
    """The encoded clips, held in memory, or the stream that the step is given instead."""
    if "shards" in work.inputs:
        return Streaming.open(work)
    data = load_encoded(work.inputs["encoded"])
    return retold(data, work.inputs["captions"]) if "captions" in work.inputs else data


def settings_from(config: Mapping[str, object]) -> TrainSettings:
    """The stage's settings out of the step's config."""
    known = {name: config[name] for name in TrainSettings.__dataclass_fields__ if name in config}
    return TrainSettings(**{**known, "groups": tuple(config["groups"])})  # type: ignore[arg-type]


def starting_point(work: Work) -> DynamiCrafter:
    """The stage's model: fresh parts (seeded by the training seed alone), the parent's, what stage i trained."""
    torch.manual_seed(torch_seed(work.config["seed"], "init"))
    config = model_from_json(work.config["model"])
    model = DynamiCrafter(config)
    parent = open_parent(work.file("parent", FILE), "t2i" if work.config["images"] else "t2v", config)
    new = set(inherit(model, parent.state).new)
    if "trained" in work.inputs:
        state = load_tensors(work.file("trained", FILE))
        adopted = {k: v for k, v in state.items() if parameter_group(k) in ADOPTED}
        new -= set(inherit(model, {k: _for_every_frame(k, v, model) for k, v in adopted.items()}).loaded)
    fresh = FRESH if "trained" in work.inputs else (*FRESH, *ADOPTED)
    unfit = [name for name in sorted(new) if parameter_group(name) not in fresh]
    if unfit:
        raise ValueError(
            f"{len(unfit)} parameters are neither in the parent nor in what stage i trained, as {unfit[0]}: "
            "another model's weights were given"
        )
    return model


def _for_every_frame(name: str, value: Tensor, model: DynamiCrafter) -> Tensor:
    """P's queries as learned on single images (1, Q, D), repeated for the frames of a clip (1, T Q, D)."""
    own = model.state_dict()[name]
    repeats = own.shape[1] // value.shape[1] if name.endswith("queries") and value.shape != own.shape else 1
    return value.repeat(1, repeats, 1) if repeats > 1 else value


def summary(model: DynamiCrafter, curve: list[Line]) -> dict[str, object]:
    """What a reader of the run wants of a stage at a glance."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"trained_parameters": trained, "image_scale": model.image_scales(), "last": curve[-1] if curve else None}
