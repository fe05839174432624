"""Do the frozen parts and the schedule compute what the official code computed?

Reads golden files of kinds d (autoencoder), e (CLIP preprocessing), f (schedules and DDIM tables), i
(OpenCLIP towers) and the anchors of the weight rule. Weights come from the rule, configurations from the
file's metadata.
Source: outputs of the official DynamiCrafter code (commit c453369), float32 on CPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.verify_cases import Case, Left
from bench.verify_configs import OFFICIAL_SPACING, PUBLISHED, read_autoencoder_config, read_clip_config
from bench.verify_unet import BOUND, compare, fill, rule_tensor
from models.autoencoder import Autoencoder
from models.checkpoint import Official
from models.config import ClipConfig, DiffusionConfig
from models.encoders import ImageEncoder, TextEncoder
from models.image_preprocess import ClipPreprocess
from models.schedule import DdimTable, Schedule, official_buffers

TABLE_BOUND = 1e-6
EXACT = 0.0  # whole numbers
ANCHOR_BOUND = 1e-6
NO_SPACING = "no table of timesteps in a spacing that is known"

Tensors = Mapping[str, Tensor]
Metadata = Mapping[str, Any]
Module = TypeVar("Module", bound=nn.Module)


def filled(module: Module) -> Module:
    """A module whose names are the official ones, in eval mode, with the rule's weights."""
    fill(module, {name: Official(name, tuple(t.shape)) for name, t in module.state_dict().items()})
    return module.eval()


def pixels(u8: Tensor) -> Tensor:
    """Bytes 0..255 to [-1, 1]."""
    return (u8.float() / 255 - 0.5) * 2


@torch.no_grad()
def check_autoencoder(tensors: Tensors, metadata: Metadata) -> Iterator[Case | Left]:
    """Kind d: moments and decoding of frames, unscaled."""
    for name, entry in metadata["meta"].items():
        official = entry["config"]
        config = read_autoencoder_config(official["ddconfig"], official.get("embed_dim"))
        results = [f"{name}.{what}" for what in ("mean", "logvar", "std", "dec") if f"{name}.{what}" in tensors]
        if not results:
            yield Left(name, "no result of it is in the file")
            continue
        autoencoder = filled(Autoencoder(config))
        got = {}
        if f"{name}.x" in tensors:
            mean, logvar = autoencoder.moments(tensors[f"{name}.x"])
            got = {f"{name}.mean": mean, f"{name}.logvar": logvar, f"{name}.std": torch.exp(0.5 * logvar)}
        if f"{name}.z" in tensors:
            latents = (tensors[f"{name}.z"] * config.scale_factor).unsqueeze(2)
            got[f"{name}.dec"] = autoencoder.decode(latents).squeeze(2)
        for key in results:
            yield compare(key, got[key], tensors[key], BOUND)


@torch.no_grad()
def check_preprocess(tensors: Tensors, metadata: Metadata) -> Iterator[Case]:
    """Kind e: what CLIP sees of images of several sizes; `_strideN` outputs keep every N-th pixel."""
    for name in sorted(k for k in tensors if k.startswith("out_")):
        size, _, stride = name.removeprefix("out_").partition("_stride")
        step, want = int(stride or 1), tensors[name]
        side = 224 if -(-224 // step) == want.shape[-1] else step * want.shape[-1]
        seen = ClipPreprocess(side)(pixels(tensors[f"in_u8_{size}"]))
        yield compare(name, seen[..., ::step, ::step], want, BOUND)


def candidates(tensors: Tensors, name: str) -> Iterator[DiffusionConfig]:
    """The configurations that a schedule may have been made with: what its tables say, and the released ones."""
    with suppress(KeyError, ValueError):  # tables are missing or damaged: a released configuration tells which
        yield infer_diffusion(tensors)
    yield from (make().diffusion for size, make in PUBLISHED.items() if size in name)
    yield from (make().diffusion for make in PUBLISHED.values())


def infer_diffusion(tensors: Tensors) -> DiffusionConfig:
    """The configuration that a schedule was made with, read off its tables.

    Raises KeyError or ValueError when they cannot be of a schedule.
    """
    betas, cumprod = tensors["betas"].double(), tensors["alphas_cumprod"].double()
    zero = float(cumprod[-1]) == 0.0
    recip = tensors.get("sqrt_recip_alphas_cumprod")
    scale = tensors.get("scale_arr")
    config = DiffusionConfig(
        steps=len(betas),
        beta_start=_short(float(betas[0])),
        beta_end=DiffusionConfig().beta_end if zero else _short(float(betas[-1])),
        prediction="v" if zero or (recip is not None and not bool(recip.any())) else "eps",
        zero_terminal_snr=zero,
        dynamic_rescale=None if scale is None else _short(float(scale[-1])),
    )
    return replace(config, beta_end=_last_beta(config, float(cumprod[len(cumprod) // 2]))) if zero else config


def _short(stored: float, precision: float = 6e-8) -> float:
    """The number with the fewest digits that is `stored` to within a relative `precision` (float32's, if not said)."""
    rounded = (float(f"{stored:.{digits}g}") for digits in range(1, 17))
    return next((x for x in rounded if abs(x - stored) <= precision * abs(stored)), stored)


def _last_beta(config: DiffusionConfig, middle: float) -> float:
    """The last beta before the schedule was shifted to zero terminal SNR, by its middle alphas_cumprod."""
    low, high = config.beta_start, 0.999
    for _ in range(60):  # alphas_cumprod falls as the last beta grows
        guess = (low + high) / 2
        cumprod = Schedule(replace(config, beta_end=guess)).alphas_cumprod
        low, high = (guess, high) if float(cumprod[config.steps // 2]) > middle else (low, guess)
    return _short((low + high) / 2, precision=1e-5)


def check_schedule(tensors: Tensors, metadata: Metadata, name: str) -> Iterator[Case | Left]:
    """Kind f: the stored tables and the DDIM tables, of the configuration that explains most of them.

    `name` (the file's) tells apart released sizes that would explain as many.
    """
    best: list[Case | Left] = []
    most = -1
    for config in candidates(tensors, name):
        cases = list(_schedule_cases(tensors, Schedule(config)))
        right = sum(isinstance(case, Left) or case.ok for case in cases)
        if right > most:
            best, most = cases, right
        if right == len(cases):
            break
    yield from best


def _schedule_cases(tensors: Tensors, schedule: Schedule) -> Iterator[Case | Left]:
    buffers = official_buffers(schedule)
    for key in sorted(tensors):
        if not key.startswith("ddim."):
            yield compare(key, buffers.get(key, torch.empty(0)), tensors[key], TABLE_BOUND)
    for key in sorted(k for k in tensors if k.startswith("ddim.")):
        _, spacing, steps, column = key.split(".", 3)
        if spacing not in OFFICIAL_SPACING:
            yield Left(key, NO_SPACING)
            continue
        eta = float(column.removeprefix("sigmas_eta")) if column.startswith("sigmas_eta") else 0.0
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


def check_timesteps(tables: Mapping[str, Any]) -> Iterator[Case | Left]:
    """Kind f, the JSON file: timesteps visited, `spacing.steps` to a list."""
    schedule = Schedule(DiffusionConfig())
    for key, want in tables.items():
        spacing, steps = key.rsplit(".", 1)
        if spacing not in OFFICIAL_SPACING or not isinstance(want, list):
            yield Left(key, NO_SPACING)
            continue
        got = schedule.timesteps(OFFICIAL_SPACING[spacing], int(steps))
        yield compare(key, torch.from_numpy(got), torch.tensor(want), EXACT)


def check_anchors(anchors: Mapping[str, Any]) -> Iterator[Case]:
    """The weight rule itself: first values and sum of a few tensors, `name [shape]` to numbers."""
    for key, want in anchors.items():
        name, shape = re.fullmatch(r"(\S+) \[(.*)\]", key).groups()  # type: ignore[union-attr]
        values = rule_tensor(name, tuple(int(n) for n in shape.split(",") if n)).double().flatten()
        got = torch.cat([values[: len(want["first"])], values.sum().view(1)])
        yield compare(f"rule {key}", got, torch.tensor([*want["first"], want["sum64"]]).double(), ANCHOR_BOUND)


def clip_models(tensors: Tensors, metadata: Metadata) -> dict[str, ClipConfig]:
    """{name: configuration} of the towers in a file; one without a configuration is the released ViT-H-14."""
    names = sorted({k.rsplit(".", 1)[0] for k in tensors if k.endswith((".text", ".image"))}, reverse=True)
    own = {name: metadata.get(f"{name}_cfg") for name in names}
    return {name: read_clip_config(cfg) if cfg else ClipConfig() for name, cfg in own.items()}


@torch.no_grad()
def check_clip(
    tensors: Tensors, metadata: Metadata, pictures: Mapping[str, Tensor], full: bool = True
) -> Iterator[Case | Left]:
    """Kind i: token ids, text tokens, image tokens (of a picture and of an all-zero image).

    Args:
        tensors: of the file.
        metadata: prompts and configurations.
        pictures: bytes (1, 3, H, W) by name, the likeliest first: inputs of kind e. {}: the image tower is left out.
        full: whether to run the released size too (4 GB, a minute).
    """
    pictures = own_pictures(tensors) or pictures
    for name, config in clip_models(tensors, metadata).items():
        if config == ClipConfig() and not full:
            yield Left(name, "a full-size network")
            continue
        if f"{name}.text" in tensors:
            yield from _check_text(name, config, tensors, metadata["prompts"])
        if f"{name}.image" in tensors and pictures:
            case, picture = _check_image(name, config, tensors, pictures)
            pictures = {picture: pictures[picture]}  # the one that explains a tower is the others' too
            yield case
        elif f"{name}.image" in tensors:
            yield Left(f"{name}.image", "no file of kind e holds its picture")


def own_pictures(tensors: Tensors) -> dict[str, Tensor]:
    """Pictures in the file itself."""
    return {name: t for name, t in tensors.items() if t.dtype == torch.uint8 and t.ndim == 4 and t.shape[1] == 3}


def _check_text(name: str, config: ClipConfig, tensors: Tensors, prompts: list[str]) -> Iterator[Case]:
    encoder = filled(TextEncoder(config))
    tokens, want = encoder.tokenize(prompts), tensors[f"{name}.text"]
    if "tokens" in tensors:
        yield compare(f"{name}.tokens", tokens, tensors["tokens"], EXACT)
    yield compare(f"{name}.text", encoder(tokens[: len(want)]), want, BOUND)


def _check_image(name: str, config: ClipConfig, tensors: Tensors, pictures: Mapping[str, Tensor]) -> tuple[Case, str]:
    """The case, and which of the pictures it was made of: the first that explains it, else the nearest."""
    encoder, want = filled(ImageEncoder(config)), tensors[f"{name}.image"]
    found: list[tuple[Case, str]] = []
    for key, picture in pictures.items():
        image = pixels(picture)
        rows = [encoder(one) for one in (image, torch.zeros_like(image[:1]))]
        case = compare(f"{name}.image", torch.cat(rows)[: len(want)], want, BOUND)
        found.append((case, key))
        if case.ok:
            break
    return min(found, key=lambda one: (not one[0].ok, one[0].rel_l2))
