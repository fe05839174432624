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
from safetensors.numpy import load_file, save_file

from bench.encoded import load_encoded
from bench.steps.sample import FRAMES
from bench.variants import config_from_json
from bench.work import Work

VERSION = 3
Clips = NDArray[np.uint8]
Items = list[dict[str, Any]]


def run(work: Work) -> None:
    """Writes frames.safetensors, items.json and notes.json of the baseline that the config names."""
    frames = load_file(work.file("clips", "clips.safetensors"))["frames"]
    items = json.loads(work.file("clips", "items.json").read_text())
    name = work.config["baseline"]
    if name not in BASELINES:
        raise ValueError(f"baseline is {name!r}. Known: {', '.join(BASELINES)}.")
    made, told, notes = BASELINES[name](work, frames, items)
    save_file({"frames": np.ascontiguousarray(made)}, work.out / FRAMES)
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
    return np.repeat(frames[:count, :1], frames.shape[1], axis=1), items[:count], []


def _another(work: Work, frames: Clips, items: Items) -> tuple[Clips, Items, list[str]]:
    others, told, notes = _real(work, frames, items)
    pairs = zip(told, items, strict=False)  # scored as what they are, asked for what they are not
    return others, [{**other, "condition": item["id"], "prompt": item["prompt"]} for other, item in pairs], notes


def _reconstruction(work: Work, frames: Clips, items: Items) -> tuple[Clips, Items, list[str]]:
    import torch

    from models.autoencoder import Autoencoder
    from models.config import AutoencoderConfig
    from models.pipeline import row_by_row, to_uint8
    from models.weights import load_module

    autoencoder = Autoencoder(config_from_json(AutoencoderConfig, work.config["autoencoder"])).eval()
    load_module(autoencoder, work.inputs["vae"])
    count = min(work.config["count"], len(items))
    latents = load_encoded(work.inputs["encoded"]).mean[:count]
    with torch.no_grad():
        return to_uint8(row_by_row(autoencoder.decode, latents)).numpy(), items[:count], []


BASELINES: dict[str, Callable[[Work, Clips, Items], tuple[Clips, Items, list[str]]]] = {
    "real": _real,
    "reconstruction": _reconstruction,
    "static": _static,
    "another": _another,
}
