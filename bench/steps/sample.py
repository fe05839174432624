"""Step `sample`: one clip for every evaluation item, from a trained model.

The noise of a clip belongs to (training seed, data set, video id): all variants of a seed start from the same noise,
and neither batch nor order matters (models/pipeline.py). Frames stay lossless; previews are made elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from bench.encoded import Encoded, load_encoded
from bench.parts import load_autoencoder, load_generator
from bench.precision import arithmetic, of_step
from bench.seeding import generator, normal
from bench.variants import config_from_json, model_from_json
from bench.work import Work
from datasets.framefile import FramesWriter
from models.config import SamplerConfig
from models.pipeline import Conditions, Pipeline, to_uint8

VERSION = 2
FRAMES = "frames.safetensors"


def run(work: Work) -> None:
    """Samples every item of `encoded`, batch by batch; finished batches survive a restart, one is in memory."""
    data = load_encoded(work.inputs["encoded"])
    items = json.loads(work.file("encoded", "items.json").read_text())
    pipeline, notes = load_pipeline(work)
    pipeline.to(work.device)
    with FramesWriter(work.out / FRAMES) as frames:
        for start in range(0, len(items), work.config["batch"]):
            index = np.arange(start, min(start + work.config["batch"], len(items)))
            ids = [items[i]["id"] for i in index]
            kept = work.scratch / f"{index[0]:06d}-{index[-1]:06d}.safetensors"
            for clip in _kept(kept, partial(_made, work, pipeline, data, index, ids)):
                frames.append(clip)
            work.progress(int(index[-1]) + 1, len(items), "clips")
    (work.out / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1))
    (work.out / "notes.json").write_text(json.dumps(notes, ensure_ascii=False))


def _made(work: Work, pipeline: Pipeline, data: Encoded, index: NDArray[np.int64], ids: list[str]) -> NDArray[np.uint8]:
    with arithmetic(of_step(work.config), work.device):
        return sample_batch(pipeline, data, index, ids, work.config["seed"], work.config["dataset"])


def load_pipeline(work: Work) -> tuple[Pipeline, tuple[str, ...]]:
    """The model with its autoencoder and sampler, and notes about them; no CLIP towers, as conditions come encoded.

    Raises ValueError when weights do not fit.
    """
    config = model_from_json(work.config["model"])
    made = load_generator(work.file("model", "model.safetensors"), config)
    autoencoder = load_autoencoder(work.inputs["vae"], config.autoencoder)
    sampler = config_from_json(SamplerConfig, work.config["sampler"])
    return Pipeline(made.model, autoencoder, None, None, made.schedule, sampler), made.notes


def conditions_of(data: Encoded, index: NDArray[np.int64], device: torch.device, ends: bool = False) -> Conditions:
    """The conditions of some items: frame 0's latent (posterior mean) and tokens, and the prompt.

    `ends`: the last frame's latent too, for a model that goes from a first picture to a last one.
    """
    rows = torch.from_numpy(index)
    latent = data.mean[rows]
    return Conditions(
        latent=(latent[:, :, [0, -1]] if ends else latent[:, :, :1]).to(device),
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
    ends = pipeline.model.config.visual_detail_guidance == "first_and_last"
    conditions = conditions_of(data, index, device, ends)
    latents = pipeline.sample_latents(conditions, rates, draw(), draw)
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
