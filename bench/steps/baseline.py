"""Step `baseline`: clips that no model made, so that a score has a scale.

real            other real videos (the second half of the selection): as near as anything can be
reconstruction  the reference clips through the autoencoder: what a perfect generator in this latent space would reach
static          the condition frame, repeated: no motion at all
another         those other real videos in the place of the reference clips: real, but deaf to the condition
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.encoded import load_encoded
from bench.steps.sample import FRAMES
from bench.variants import config_from_json
from bench.work import Work
from datasets.framefile import FramesWriter, read_frames

VERSION = 4
Clips = NDArray[np.uint8]
Items = list[dict[str, Any]]


def run(work: Work) -> None:
    """Writes frames.safetensors, items.json and notes.json of the baseline that the config names."""
    frames = read_frames(work.file("clips", "clips.safetensors"))  # a map of the file: what is not used is not read
    items = json.loads(work.file("clips", "items.json").read_text())
    name = work.config["baseline"]
    if name not in BASELINES:
        raise ValueError(f"baseline is {name!r}. Known: {', '.join(BASELINES)}.")
    made, told, notes = BASELINES[name](work, frames, items)
    with FramesWriter(work.out / FRAMES) as writer:
        writer.shape = made.shape[1:]
        for clip in made:
            writer.append(clip)
    (work.out / "items.json").write_text(json.dumps(told, ensure_ascii=False, indent=1))
    (work.out / "notes.json").write_text(json.dumps(notes))


def _real(work: Work, frames: Clips, items: Items) -> tuple[Clips, Items, list[str]]:
    count = work.config["count"]
    half = slice(count, 2 * count)
    if len(items[half]) < 2:
        return frames[:0], [], [f"real against real needs {count + 2} videos, there are {len(items)}"]
    groups = {item["group"] for item in items[:count] if item.get("group")}
    shared = sum(item.get("group") in groups for item in items[half])
    words = f"{shared} of these {len(items[half])} videos share a group (scene) with a reference video"
    return frames[half], items[half], [words] if shared else []


def _static(work: Work, frames: Clips, items: Items) -> tuple[Clips, Items, list[str]]:
    count = work.config["count"]
    first = frames[:count]
    return np.broadcast_to(first[:, :1], first.shape), items[:count], []


def _another(work: Work, frames: Clips, items: Items) -> tuple[Clips, Items, list[str]]:
    others, told, notes = _real(work, frames, items)
    pairs = zip(told, items, strict=False)  # scored as what they are, asked for what they are not
    return others, [{**other, "condition": item["id"], "prompt": item["prompt"]} for other, item in pairs], notes


def _reconstruction(work: Work, frames: Clips, items: Items) -> tuple[Clips, Items, list[str]]:
    import torch

    from bench.parts import load_autoencoder
    from bench.precision import arithmetic, of_step
    from models.config import AutoencoderConfig
    from models.pipeline import to_uint8

    config = config_from_json(AutoencoderConfig, work.config["autoencoder"])
    autoencoder = load_autoencoder(work.inputs["vae"], config).to(work.device)
    count = min(work.config["count"], len(items))
    latents = load_encoded(work.inputs["encoded"]).mean[:count]
    made = np.empty((count, *frames.shape[1:]), dtype=np.uint8)
    with torch.no_grad(), arithmetic(of_step(work.config), work.device):
        for k, latent in enumerate(latents):  # clip by clip: in pixels of one byte, and no clip sees another
            made[k] = to_uint8(autoencoder.decode(latent[None].to(work.device)))[0].cpu().numpy()
            work.progress(k + 1, count, "clips")
    return made, items[:count], []


BASELINES: dict[str, Callable[[Work, Clips, Items], tuple[Clips, Items, list[str]]]] = {
    "real": _real,
    "reconstruction": _reconstruction,
    "static": _static,
    "another": _another,
}
