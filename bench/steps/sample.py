"""Step `sample`: one clip for every evaluation item, from a trained model.

The noise of a clip belongs to (training seed, data set, video id): all variants of a seed start from the same noise,
and neither batch nor order matters. Frames stay lossless; previews are made elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from bench.encoded import Encoded, load_encoded, padded_batches
from bench.seeding import generator, normal
from bench.variants import config_from_json, model_from_json
from bench.work import Work
from models.autoencoder import Autoencoder
from models.config import ModelConfig, SamplerConfig
from models.dynamicrafter import DynamiCrafter
from models.pipeline import Conditions, Pipeline, to_uint8
from models.schedule import Schedule
from models.weights import load_module

VERSION = 1
FRAMES = "frames.safetensors"


def run(work: Work) -> None:
    """Samples every item of `encoded`, batch by batch; finished batches survive a restart."""
    data = load_encoded(work.inputs["encoded"])
    items = json.loads(work.file("encoded", "items.json").read_text())
    pipeline = load_pipeline(work).to(work.device)
    parts = []
    for index, valid in padded_batches(len(items), work.config["micro_batch"]):
        parts.append(
            _kept(
                work.scratch / f"{index[0]:06d}.safetensors",
                lambda rows=index: sample_batch(  # type: ignore[misc]
                    pipeline, data, rows, [items[i]["id"] for i in rows], work.config["seed"], work.config["dataset"]
                ),
            )[:valid]
        )
        work.progress(int(index[valid - 1]) + 1, len(items), "clips")
    save_file({"frames": np.concatenate(parts)}, work.out / FRAMES)
    (work.out / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1))


def load_pipeline(work: Work) -> Pipeline:
    """The trained model with its autoencoder and sampler. Raises ValueError when weights do not fit."""
    config = model_from_json(work.config["model"])
    model = DynamiCrafter(config)
    load_module(model, work.file("model", "model.safetensors"))
    return pipeline_of(model, config, work.inputs["vae"], config_from_json(SamplerConfig, work.config["sampler"]))


def pipeline_of(model: DynamiCrafter, config: ModelConfig, vae: Path, sampler: SamplerConfig) -> Pipeline:
    """A pipeline whose conditions come encoded, so that it needs no CLIP towers."""
    autoencoder = Autoencoder(config.autoencoder)
    load_module(autoencoder, vae)
    return Pipeline(model.eval(), autoencoder.eval(), None, None, Schedule(config.diffusion), sampler)


def conditions_of(data: Encoded, index: NDArray[np.int64], device: torch.device) -> Conditions:
    """The conditions of some items: frame 0's latent (posterior mean) and tokens, and the prompt."""
    rows = torch.from_numpy(index)
    return Conditions(
        latent=data.mean[rows, :, :1].to(device),
        text=data.text[rows].float().to(device),
        image_tokens=data.image_tokens[rows, 0].float().to(device),
        null_text=data.null_text.to(device),
        null_image_tokens=data.null_image_tokens.to(device),
    )


def sample_batch(
    pipeline: Pipeline, data: Encoded, index: NDArray[np.int64], ids: list[str], seed: int, dataset: str
) -> NDArray[np.uint8]:
    """Clips uint8 (B, T, H, W, 3) of the items `index`."""
    device = next(pipeline.parameters()).device
    generators = [generator(seed, "sample", dataset, name) for name in ids]
    shape = tuple(data.mean.shape[1:])

    def draw(step: int = -1) -> Tensor:
        return torch.stack([normal(rng, shape) for rng in generators]).to(device)

    rates = data.fs[torch.from_numpy(index)].to(device)
    latents = pipeline.sample_latents(conditions_of(data, index, device), rates, draw(), draw)
    return to_uint8(pipeline.decode(latents)).cpu().numpy()


def _kept(path: Path, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """What `make` gives, kept in the scratch folder for a restart; a damaged file is made again."""
    if path.exists():
        try:
            return load_file(path)["frames"]
        except (SafetensorError, KeyError):  # cut short when the power went
            path.unlink()
    frames = make()
    temporary = path.with_suffix(".tmp")
    save_file({"frames": frames}, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())  # the name may outlive a power cut that the content does not
    temporary.replace(path)
    return frames
