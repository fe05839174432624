"""Do the frozen parts and the schedule compute what the official code computed?

Reads golden files of kinds d (autoencoder), e (CLIP preprocessing), f (schedules and DDIM tables), i
(OpenCLIP towers) and the anchors of the weight rule. Weights come from the rule, configurations from the
file's metadata.
Source: outputs of the official DynamiCrafter code (commit c453369), float32 on CPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from bench.verify_unet import BOUND, Case, compare, fill, rule_tensor
from models import presets
from models.autoencoder import Autoencoder
from models.checkpoint import Official
from models.config import AutoencoderConfig, ClipConfig, DiffusionConfig
from models.encoders import ImageEncoder, TextEncoder
from models.image_preprocess import ClipPreprocess
from models.schedule import DdimTable, Schedule, official_buffers

TABLE_BOUND = 1e-5  # tables are stored in float32; ours come from float64
EXACT = 0.0  # whole numbers
ANCHOR_BOUND = 1e-6
OFFICIAL_SPACING = {"uniform": "official_uniform", "uniform_trailing": "uniform_trailing"}
PUBLISHED = {
    "1024": presets.dynamicrafter_1024,
    "512": presets.dynamicrafter_512,
    "256": presets.dynamicrafter_256,
}

Tensors = Mapping[str, Tensor]
Metadata = Mapping[str, Any]
Module = TypeVar("Module", bound=nn.Module)


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a golden file and its metadata; values that are JSON are decoded, others stay text."""
    with safe_open(str(file), "pt") as opened:
        metadata = {key: decode(value) for key, value in (opened.metadata() or {}).items()}
        return {key: opened.get_tensor(key) for key in opened.keys()}, metadata  # noqa: SIM118


def decode(value: str) -> Any:
    """JSON where it is, else the text itself."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def filled(module: Module) -> Module:
    """A module whose names are the official ones, in eval mode, with the rule's weights."""
    fill(module, {name: Official(name, tuple(t.shape)) for name, t in module.state_dict().items()})
    return module.eval()


def pixels(u8: Tensor) -> Tensor:
    """Bytes 0..255 to [-1, 1]."""
    return (u8.float() / 255 - 0.5) * 2


def published_diffusion(name: str) -> DiffusionConfig | None:
    """The diffusion of the released size (256, 512 or 1024) that a file or configuration name mentions."""
    found = re.search("|".join(PUBLISHED), name)
    return PUBLISHED[found.group()]().diffusion if found else None


def read_autoencoder_config(official: Mapping[str, Any], embed_dim: int | None = None) -> AutoencoderConfig:
    """An official `ddconfig` as ours."""
    return AutoencoderConfig(
        channels=official["ch"],
        channel_mult=tuple(official["ch_mult"]),
        num_res_blocks=official["num_res_blocks"],
        z_channels=official["z_channels"],
        embed_dim=official["z_channels"] if embed_dim is None else embed_dim,
        in_channels=official["in_channels"],
        out_channels=official["out_ch"],
    )


@torch.no_grad()
def check_autoencoder(tensors: Tensors, metadata: Metadata) -> Iterator[Case]:
    """Kind d: moments and decoding of frames, unscaled."""
    for name, entry in metadata["meta"].items():
        official = entry["config"]
        config = read_autoencoder_config(official["ddconfig"], official["embed_dim"])
        autoencoder = filled(Autoencoder(config))
        mean, logvar = autoencoder.moments(tensors[f"{name}.x"])
        yield compare(f"{name}.mean", mean, tensors[f"{name}.mean"], BOUND)
        yield compare(f"{name}.logvar", logvar, tensors[f"{name}.logvar"], BOUND)
        if f"{name}.std" in tensors:
            yield compare(f"{name}.std", torch.exp(0.5 * logvar), tensors[f"{name}.std"], BOUND)
        latents = (tensors[f"{name}.z"] * config.scale_factor).unsqueeze(2)
        yield compare(f"{name}.dec", autoencoder.decode(latents).squeeze(2), tensors[f"{name}.dec"], BOUND)


@torch.no_grad()
def check_preprocess(tensors: Tensors, metadata: Metadata) -> Iterator[Case]:
    """Kind e: what CLIP sees of images of several sizes; `_strideN` outputs keep every N-th pixel."""
    for name in sorted(k for k in tensors if k.startswith("out_")):
        size, _, stride = name.removeprefix("out_").partition("_stride")
        step, want = int(stride or 1), tensors[name]
        side = 224 if -(-224 // step) == want.shape[-1] else step * want.shape[-1]
        seen = ClipPreprocess(side)(pixels(tensors[f"in_u8_{size}"]))
        yield compare(name, seen[..., ::step, ::step], want, BOUND)


def infer_diffusion(tensors: Tensors) -> DiffusionConfig:
    """The configuration that a schedule was made with, read off its tables."""
    zero = float(tensors["alphas_cumprod"][-1]) == 0.0
    is_v = not bool(tensors["sqrt_recip_alphas_cumprod"].any())
    scale = tensors.get("scale_arr")
    default = DiffusionConfig()
    return DiffusionConfig(
        steps=len(tensors["betas"]),
        beta_start=default.beta_start if zero else float(tensors["betas"][0]),
        beta_end=default.beta_end if zero else float(tensors["betas"][-1]),
        prediction="v" if is_v else "eps",
        zero_terminal_snr=zero,
        dynamic_rescale=None if scale is None else round(float(scale[-1]), 6),
    )


def check_schedule(tensors: Tensors, metadata: Metadata, name: str) -> Iterator[Case]:
    """Kind f: the stored tables and the DDIM tables. `name` (the file's) tells which released size it is."""
    schedule = Schedule(published_diffusion(name) or infer_diffusion(tensors))
    buffers = official_buffers(schedule)
    for key in sorted(tensors):
        if not key.startswith("ddim."):
            yield compare(key, buffers.get(key, torch.empty(0)), tensors[key], TABLE_BOUND)
    for key in sorted(k for k in tensors if k.startswith("ddim.")):
        _, spacing, steps, column = key.split(".", 3)
        eta = float(column.removeprefix("sigmas_eta")) if column.startswith("sigmas") else 0.0
        got = _column(schedule.ddim(OFFICIAL_SPACING[spacing], int(steps), eta), column)
        yield compare(key, got, tensors[key], EXACT if column == "timesteps" else TABLE_BOUND)


def _column(table: DdimTable, column: str) -> Tensor:
    """A column of a DDIM table under its official name."""
    columns = {
        "timesteps": table.timesteps,
        "alphas": table.alphas,
        "alphas_prev": table.alphas_prev,
        "sqrt_one_minus_alphas": np.sqrt(1 - table.alphas),
        "sigmas": table.sigmas,
        "scale": table.scale,
        "scale_prev": table.scale_prev,
    }
    return torch.from_numpy(np.array(columns[column.partition("_eta")[0]]))


def check_timesteps(tables: Mapping[str, Any]) -> Iterator[Case]:
    """Kind f, the JSON file: timesteps visited, `spacing.steps` to a list, of the spacings we have."""
    schedule = Schedule(DiffusionConfig())
    for key, want in tables.items():
        spacing, steps = key.rsplit(".", 1)
        if spacing in OFFICIAL_SPACING:
            got = schedule.timesteps(OFFICIAL_SPACING[spacing], int(steps))
            yield compare(key, torch.from_numpy(got), torch.tensor(want), EXACT)


def check_anchors(anchors: Mapping[str, Any]) -> Iterator[Case]:
    """The weight rule itself: first values and sum of a few tensors, `name [shape]` to numbers."""
    for key, want in anchors.items():
        name, shape = re.fullmatch(r"(\S+) \[(.*)\]", key).groups()  # type: ignore[union-attr]
        values = rule_tensor(name, tuple(int(n) for n in shape.split(",") if n)).double().flatten()
        got = torch.cat([values[: len(want["first"])], values.sum().view(1)])
        yield compare(
            f"rule {key}", got, torch.tensor([*want["first"], want["sum64"]]).double(), ANCHOR_BOUND
        )


def read_clip_config(official: Mapping[str, Any]) -> ClipConfig:
    """An open_clip configuration as ours."""
    vision, text = official["vision_cfg"], official["text_cfg"]
    return ClipConfig(
        embed_dim=official["embed_dim"],
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        vision_layers=vision["layers"],
        vision_width=vision["width"],
        vision_head_width=vision.get("head_width", 64),
        text_length=text["context_length"],
        vocab_size=text["vocab_size"],
        text_width=text["width"],
        text_heads=text["heads"],
        text_layers=text["layers"],
    )


def clip_models(tensors: Tensors, metadata: Metadata) -> dict[str, ClipConfig]:
    """{name: configuration} of the towers in a file; one without a configuration is the released ViT-H-14."""
    names = sorted({k.rsplit(".", 1)[0] for k in tensors if k.endswith((".text", ".image"))}, reverse=True)
    own = {name: metadata.get(f"{name}_cfg") for name in names}
    return {name: read_clip_config(cfg) if cfg else ClipConfig() for name, cfg in own.items()}


@torch.no_grad()
def check_clip(
    tensors: Tensors, metadata: Metadata, image: Tensor | None, full: bool = True
) -> Iterator[Case]:
    """Kind i: token ids, text tokens, image tokens (of a picture and of an all-zero image).

    Args:
        tensors: of the file.
        metadata: prompts and configurations.
        image: the picture, bytes (1, 3, H, W), an input of kind e; None: the image tower is left out.
        full: whether to run the released size too (4 GB, a minute).
    """
    for name, config in clip_models(tensors, metadata).items():
        if config == ClipConfig() and not full:
            continue
        yield from _check_text(name, config, tensors, metadata["prompts"])
        if image is not None:
            yield from _check_image(name, config, tensors, pixels(image))


def _check_text(name: str, config: ClipConfig, tensors: Tensors, prompts: list[str]) -> Iterator[Case]:
    encoder = filled(TextEncoder(config))
    tokens, want = encoder.tokenize(prompts), tensors[f"{name}.text"]
    yield compare(f"{name}.tokens", tokens, tensors["tokens"], EXACT)
    yield compare(f"{name}.text", encoder(tokens[: len(want)]), want, BOUND)


def _check_image(name: str, config: ClipConfig, tensors: Tensors, picture: Tensor) -> Iterator[Case]:
    encoder, want = filled(ImageEncoder(config)), tensors[f"{name}.image"]
    rows = [encoder(image) for image in (picture, torch.zeros_like(picture))]
    yield compare(f"{name}.image", torch.cat(rows)[: len(want)], want, BOUND)
