"""How different do two images look, by people's judgements (DreamSim's ensemble, the D in PIC)?

    D(a, b) = 1 - cos(e(a), e(b)),   e = unit(concat(DINO, CLIP, OpenCLIP) less its own mean)

so D is one minus the Pearson correlation of the two concatenated embeddings. Shapes: images (B, H, W, 3) uint8 of any
size, squashed to 224x224 (PIL, bicubic, antialiased); embeddings (B, 1792) float64, unit vectors; D (B,), 0 to 2.
Source: Fu et al., arXiv:2306.09344, and the checkpoint folder of its public code, v0.2.0; read here without that code,
which unpickles and runs what it downloads. The three transformers were tuned with LoRA, W + (alpha / r) B A.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from bench.metrics.batches import Pixels, check_images, check_pairs, in_batches
from bench.metrics.state_files import check_fit, read_state, unfilled
from bench.metrics.statistics import Array
from bench.metrics.vit import Clip, Dino, OpenClip, Trunk

SIZE = 224
MICRO_BATCH = 8
RELEASE = "dreamsim_ensemble_checkpoint.zip of github.com/ssundaram21/dreamsim, release v0.2.0-checkpoints"
Branch = tuple[Callable[[], Trunk], tuple[str, ...], str]  # how it is built, where its file may lie, where it is from
BRANCHES: dict[str, Branch] = {  # in the order of concatenation
    "dino": (
        Dino,
        ("checkpoints/dino_vitbase16_pretrain.pth", "dino_vitbase16_pretrain.pth"),
        "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
    ),
    "clip": (Clip, ("clip_vitb16_pretrain.pth.tar",), RELEASE),
    "open_clip": (OpenClip, ("open_clip_vitb16_pretrain.pth.tar",), RELEASE),
}
ADAPTER = "ensemble_lora"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
LORA_KEY = re.compile(r"^base_model\.model\.extractor_list\.(\d)\.model\.(.+)\.lora_([AB])\.(?:default\.)?weight$")
PLAIN = {  # settings of an adapter that would change the merge, and the only value understood
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "fan_in_fan_out": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
}


class DreamSim(nn.Module):
    """Three transformers, one embedding. Empty until filled: use `load_dreamsim`."""

    def __init__(self, branches: Mapping[str, Trunk], micro_batch: int = MICRO_BATCH) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        self.micro_batch = micro_batch
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, 224, 224) in [0, 1] -> (B, 1792), unit vectors
        parts = [branch((images - _column(branch.mean, images)) / _column(branch.std, images)) for branch in self.kinds]
        joined = torch.cat(parts, 1)
        centred = joined - joined.mean(1, keepdim=True)
        return centred / centred.norm(dim=1, keepdim=True)

    @property
    def kinds(self) -> list[Any]:
        """The branches, in the order of concatenation."""
        return list(self.branches.values())

    @property
    def side(self) -> int:
        """Height and width that the branches see, in pixels."""
        return int(self.kinds[0].side)

    def embed(self, images: Pixels) -> Array:
        """Embeddings (B, 1792) float64 of images (B, H, W, 3) uint8. Raises ValueError for anything else."""
        check_images(images, "DreamSim")
        return in_batches(lambda some: self(self._input(some)), self.micro_batch, images)

    def distance(self, a: Pixels, b: Pixels) -> Array:
        """D (B,) float64 of images (B, H, W, 3) uint8, pair by pair. Raises ValueError when they do not fit."""
        check_pairs(a, b, "DreamSim")
        return embedding_distance(self.embed(a), self.embed(b))

    def _input(self, images: Pixels) -> Tensor:
        pixels = torch.from_numpy(squash(images, self.side)).permute(0, 3, 1, 2).contiguous()
        first = next(self.parameters())
        return pixels.to(first.device).to(first.dtype) / 255.0


def embedding_distance(a: Array, b: Array) -> Array:
    """D along the last axis of embeddings of `DreamSim.embed`."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray(1.0 - np.sum(a * b, axis=-1) / lengths)


def squash(images: Pixels, size: int = SIZE) -> Pixels:
    """(B, H, W, 3) uint8 -> (B, size, size, 3) uint8, bicubic and antialiased; the aspect is not kept."""
    resized = [Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC) for image in images]
    return np.stack([np.asarray(image) for image in resized])


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)


# ---- files ----


def load_dreamsim(folder: Path) -> DreamSim:
    """DreamSim's ensemble in evaluation mode from its checkpoint folder, LoRA merged; float32, on the CPU.

    `folder` may also be a safetensors file that `convert` made of one.
    In the folder: clip_vitb16_pretrain.pth.tar, open_clip_vitb16_pretrain.pth.tar and ensemble_lora/ of the released
    zip, and checkpoints/dino_vitbase16_pretrain.pth, DINO's own. (dino_vitb16_pretrain.pth of the zip holds a head that
    D does not use; it is not read.) Raises ValueError naming every file that is missing, and for a file that is not
    tensors alone or does not fit.
    """
    model = empty_dreamsim()
    if folder.is_file():
        fill(model, read_state(folder), str(folder))
        return model
    files = find_files(folder)
    for name, branch in model.branches.items():
        fill(branch, read_state(files[name]), str(files[name]))
    merge_adapter(model, read_config(files["config"]), read_state(files["adapter"]), str(files["adapter"]))
    return model


def find_files(folder: Path) -> dict[str, Path]:
    """Files of the three branches, the adapter and its configuration. Raises ValueError naming all that are missing."""
    wanted = {name: (places, source) for name, (_, places, source) in BRANCHES.items()}
    wanted["config"] = ((f"{ADAPTER}/adapter_config.json",), RELEASE)
    wanted["adapter"] = (tuple(f"{ADAPTER}/{name}" for name in ADAPTER_FILES), RELEASE)
    found: dict[str, Path] = {}
    missing = []
    for name, (places, source) in wanted.items():
        here = [folder / place for place in places if (folder / place).is_file()]
        if here:
            found[name] = here[0]
        else:
            missing.append(f"missing {' or '.join(places)}: from {source}")
    if missing:
        listed = "\n  ".join(missing)
        raise ValueError(
            f"DreamSim: {folder} is not a whole checkpoint folder (nothing is downloaded here):\n  {listed}"
        )
    return found


def empty_dreamsim() -> DreamSim:
    """The ensemble in evaluation mode, waiting for its weights."""
    return unfilled(lambda: DreamSim({name: build() for name, (build, _, _) in BRANCHES.items()}))


def fill(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Fills one transformer, or all. Raises ValueError, and changes nothing, with every entry that does not fit."""
    own = module.state_dict()
    check_fit(state, {name: tuple(tensor.shape) for name, tensor in own.items()}, source)
    for name, tensor in own.items():
        tensor.copy_(state[name])


def read_config(path: Path) -> dict[str, Any]:
    """An adapter's configuration. Raises ValueError when it is none, or asks for more than plain LoRA."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"DreamSim: {path} cannot be read ({error})") from error
    if not isinstance(config, dict) or not all(isinstance(config.get(key), int | float) for key in ("r", "lora_alpha")):
        raise ValueError(f"DreamSim: {path} has no numbers r and lora_alpha")
    if config["r"] < 1:
        raise ValueError(f"DreamSim: {path} says r {config['r']}; wanted 1 or more")
    odd = [f"{k} is {config[k]!r}, not {v!r}" for k, v in PLAIN.items() if config.get(k, v) not in (v, None)]
    if odd:
        raise ValueError(f"DreamSim: {path} asks for more than plain LoRA: {'; '.join(odd)}")
    return config


@torch.no_grad()
def merge_adapter(model: DreamSim, config: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> int:
    """Adds (alpha / r) B A to each weight that an adapter names, in place; returns how many there were.

    Raises ValueError, and changes nothing, for a name that is not understood, half a pair, or a wrong shape.
    """
    pairs: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, tensor in state.items():
        match = LORA_KEY.match(name)
        if match is None or int(match[1]) >= len(model.branches):
            raise ValueError(f"DreamSim: {source} has an entry {name}, which is no LoRA weight of a branch")
        pairs.setdefault((int(match[1]), match[2]), {})[match[3]] = tensor
    steps = [_step(model, place, pair, config, source) for place, pair in pairs.items()]
    for weight, step in steps:
        weight += step
    return len(steps)


def _step(
    model: DreamSim, place: tuple[int, str], pair: Mapping[str, Tensor], config: Mapping[str, Any], source: str
) -> tuple[Tensor, Tensor]:
    """A weight, and what an adapter adds to it."""
    number, name = place
    where = f"DreamSim: {source}, branch {number}, {name}"
    weight = dict(model.kinds[number].named_parameters()).get(f"{name}.weight")
    if weight is None or weight.ndim != 2:
        raise ValueError(f"{where}: there is no such linear layer")
    shapes = {side: tuple(tensor.shape) for side, tensor in pair.items()}
    wanted = {"A": (config["r"], weight.shape[1]), "B": (weight.shape[0], config["r"])}
    if shapes != wanted:
        raise ValueError(f"{where}: LoRA shapes {shapes}; wanted {wanted}")
    return weight, (config["lora_alpha"] / config["r"]) * (pair["B"].float() @ pair["A"].float())
