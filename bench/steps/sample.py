"""Step `sample`: one clip for every evaluation item, from a trained model.

The noise of a clip belongs to (training seed, data set, video id): all variants of a seed start from the same noise,
and neither batch nor order matters (models/pipeline.py). Frames stay lossless; previews are made elsewhere.
Config, beside model, sampler, seed, dataset and batch: `prompt` "none" leaves the prompts out, `lambda_factors` {group:
factor} turns lambda up or down (models/lambda_layers.py), `ends_at` "first" gives a model that is shown both ends the
first frame as the last (a loop); without them clips are sampled as the model was trained.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from bench.compiled import compile_unet
from bench.encoded import Encoded, load_encoded
from bench.parts import Generator, load_adapted, load_autoencoder, load_generator
from bench.precision import arithmetic, of_step
from bench.seeding import generator, normal
from bench.variants import config_from_json, model_from_json
from bench.work import Work
from datasets.framefile import FramesWriter
from models.config import ModelConfig, SamplerConfig
from models.lambda_layers import scale_lambda
from models.pipeline import Conditions, Pipeline, to_uint8
from models.schedule import Schedule

VERSION = 2
SHARED = True  # ranks take parts in turn
FRAMES = "frames.safetensors"


def run(work: Work) -> None:
    """Samples every item of `encoded`, batch by batch; finished batches survive a restart, one is in memory."""
    data = PROMPTS[work.config.get("prompt", "caption")](load_encoded(work.inputs["encoded"]))
    data = ENDS_AT[work.config.get("ends_at", "last")](data)
    items = json.loads(work.file("encoded", "items.json").read_text())
    pipeline, notes = load_pipeline(work)
    pipeline.to(work.device)
    compile_unet(pipeline.model.unet, work.config, work.device)
    parts = _parts(work, len(items))
    kept = set(json.loads(work.ranks.from_first(json.dumps([p.name for p in parts if p.kept() is not None]))))
    ids = [item["id"] for item in items]
    todo = [part for part in parts if part.name not in kept]
    made = work.ranks.share(todo, partial(_made, work, pipeline, data, ids))
    if not work.ranks.first:
        deque(made, maxlen=0)  # makes this rank's share
        return
    _write(work, parts, made)
    (work.out / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1))
    (work.out / "notes.json").write_text(json.dumps(notes, ensure_ascii=False))


def _write(work: Work, parts: list[Part], made: Iterator[dict[str, Tensor]]) -> None:
    """The clips of all parts into one file, in order; those that come from `made` are kept for a restart.

    Files are written by a thread while the next part is made; one part waits at most.
    """

    def put(part: Part, clips: NDArray[np.uint8], fresh: bool) -> None:
        if fresh:
            part.keep(clips)
        for clip in clips:
            frames.append(clip)

    with FramesWriter(work.out / FRAMES) as frames, ThreadPoolExecutor(1, "writer") as writer:
        before: Future[None] | None = None
        for part in parts:
            clips = part.kept()
            found = next(made)["frames"].numpy() if clips is None else clips
            if before is not None:
                before.result()  # raises here what went wrong there
            before = writer.submit(put, part, found, clips is None)
            work.progress(part.stop, parts[-1].stop, "clips")
        deque(made, maxlen=0)
        if before is not None:
            before.result()


def _made(work: Work, pipeline: Pipeline, data: Encoded, ids: list[str], part: Part) -> dict[str, Tensor]:
    index = np.arange(part.start, part.stop)
    with arithmetic(of_step(work.config), work.device):
        some = [ids[i] for i in index]
        clips = sample_batch(pipeline, data, index, some, work.config["seed"], work.config["dataset"])
    return {"frames": torch.from_numpy(clips)}


@dataclass(frozen=True)
class Part:
    """Clips start..stop - 1, made at once and kept in the scratch folder for a restart."""

    folder: Path
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.start:06d}-{self.stop - 1:06d}.safetensors"

    def kept(self) -> NDArray[np.uint8] | None:
        """The clips of an earlier attempt; a damaged file is removed."""
        path = self.folder / self.name
        try:
            return load_file(path)["frames"] if path.exists() else None
        except (SafetensorError, KeyError):  # cut short when the power went
            path.unlink()
            return None

    def keep(self, frames: NDArray[np.uint8]) -> None:
        """Saves the clips."""
        path = self.folder / self.name
        temporary = path.with_suffix(".tmp")
        save_file({"frames": frames}, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # the name may outlive a power cut that the content does not
        temporary.replace(path)


def _parts(work: Work, count: int) -> list[Part]:
    """What is made at once: `batch` clips, or fewer when some rank would have none. No bit depends on it."""
    size = min(work.config["batch"], max(1, -(-count // work.ranks.size)))
    return [Part(work.scratch, start, min(start + size, count)) for start in range(0, count, size)]


def load_pipeline(work: Work) -> tuple[Pipeline, tuple[str, ...]]:
    """The model with its autoencoder and sampler, and notes about them; no CLIP towers, as conditions come encoded.

    Raises ValueError when weights do not fit.
    """
    config = model_from_json(work.config["model"])
    made = _generator(work, config)
    scale_lambda(made.model, work.config.get("lambda_factors", {}))
    autoencoder = load_autoencoder(work.inputs["vae"], config.autoencoder)
    sampler = config_from_json(SamplerConfig, work.config["sampler"])
    return Pipeline(made.model, autoencoder, None, None, made.schedule, sampler), made.notes


def _generator(work: Work, config: ModelConfig) -> Generator:
    """A whole model, or what a last stage trained of its parent."""
    if "adapted" not in work.inputs:
        return load_generator(work.file("model", "model.safetensors"), config)
    model = load_adapted(work.inputs["model"], work.inputs["adapted"], config)
    return Generator(model, Schedule(config.diffusion))


def without_prompts(data: Encoded) -> Encoded:
    """The same data, every prompt empty."""
    return replace(data, text=data.null_text.to(data.text.dtype).expand_as(data.text))


PROMPTS: dict[str, Callable[[Encoded], Encoded]] = {"caption": lambda data: data, "none": without_prompts}


def as_loops(data: Encoded) -> Encoded:
    """The same data, every clip to end where it begins."""
    mean = data.mean.clone()
    mean[:, :, -1] = mean[:, :, 0]
    return replace(data, mean=mean)


ENDS_AT: dict[str, Callable[[Encoded], Encoded]] = {"last": lambda data: data, "first": as_loops}


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
