"""Do the U-Net and the context projector compute what the official code computed?

Reads golden files of kinds a (full-size U-Net), b (small U-Net: variants, every stage) and c (projector): inputs and
outputs, the configuration in the metadata; weights from a rule that needs no file. The official context is text and
image tokens in one, cut at 77; exactly 16 image tokens per frame are shared out to the frames, any other number is
shown to all of them.
Source: outputs of the official DynamiCrafter code (commit c453369), float32 on CPU.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from bench.verify_cases import Case, Left
from bench.verify_configs import read_projector_config, read_unet_config
from models.checkpoint import Official, projector_entries, unet_entries
from models.config import ProjectorConfig, UNetConfig
from models.projector import ContextProjector
from models.unet import VideoUNet

BOUND = 2e-5  # on rel L2; the official code itself moves by 2e-6 between one and two threads
TEXT_TOKENS = 77  # the official context is text and image tokens in one, cut here


def compare(name: str, got: Tensor, want: Tensor, bound: float = BOUND) -> Case:
    """`got` against `want` in float64; a wrong shape is an infinite error."""
    if got.shape != want.shape:
        return Case(f"{name} (shape {tuple(got.shape)}, expected {tuple(want.shape)})", np.inf, np.inf, bound)
    difference, want = got.double() - want.double(), want.double()
    rel = float(difference.norm() / want.norm().clamp(min=1e-30))
    return Case(name, float(difference.abs().max()), rel, bound)


def rule_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """The weight that the rule of the golden files gives the official entry `name` of `shape`."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if not shape:
        return torch.tensor(0.5 * rng.standard_normal(dtype=np.float32))
    x = rng.standard_normal(shape, dtype=np.float32)
    if name.rsplit(".", 1)[-1] == "latents":
        return torch.from_numpy(x / np.float32(np.sqrt(shape[-1])))
    if len(shape) >= 2:
        return torch.from_numpy(x / np.float32(np.sqrt(prod(shape[1:]))))
    return torch.from_numpy(1 + np.float32(0.1) * x if name.endswith("weight") else np.float32(0.1) * x)


@torch.no_grad()
def fill(module: nn.Module, entries: Mapping[str, Official]) -> None:
    """Gives every tensor of `module` its weight by the rule, one at a time."""
    for name, tensor in module.state_dict().items():
        tensor.copy_(rule_tensor(*entries[name]).reshape(tensor.shape))


def filled_unet(config: UNetConfig) -> VideoUNet:
    """A U-Net in eval mode with the rule's weights; built without drawing random ones."""
    with torch.device("meta"):
        unet = VideoUNet(config)
    unet.to_empty(device="cpu").eval()
    fill(unet, unet_entries(unet))
    return unet


def filled_projector(config: ProjectorConfig) -> ContextProjector:
    """A projector in eval mode with the rule's weights."""
    projector = ContextProjector(config).eval()
    fill(projector, projector_entries(projector))
    return projector


def streams(context: Tensor, length: int | None = None, image: bool = True) -> dict[str, Tensor]:
    """An official context, cut to `length` tokens, as text and image tokens; without `image`, as text alone."""
    context = context[:, :length]
    text = {"text": context[:, :TEXT_TOKENS]}
    return {**text, "image": context[:, TEXT_TOKENS:]} if image else text


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


OFFICIAL_STAGES: tuple[tuple[str, str], ...] = (  # our module, official name of its output
    ("time_embedding", "time_embed"),
    ("rate_embedding", "fps_embedding"),
    ("conv_in", "input_blocks.0"),
    ("initial", "init_attn"),
    ("middle", "middle_block"),
)


def official_stages(unet: VideoUNet) -> dict[str, nn.Module]:
    """{official name: module} of everything whose output the golden files hold."""
    stages = {official: unet.get_submodule(ours) for ours, official in OFFICIAL_STAGES}
    stages |= {f"input_blocks.{n + 1}": stage for n, stage in enumerate(unet.down)}
    return stages | {f"output_blocks.{n}": stage for n, stage in enumerate(unet.up)}


def run_recorded(unet: VideoUNet, run: Callable[[], Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """What `run` returns, and the output of every official stage in it."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out.detach()))
        for name, module in official_stages(unet).items()
    ]
    try:
        return run(), seen
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Variant:
    """What one output of a file of kind a or b was made with."""

    config: UNetConfig
    length: int | None = None  # of the context; None: all of it
    fs: str | None = "fs"  # the tensor with the rate; None: none is given


Word = Callable[[Variant], Variant]


def _with(**changes: Any) -> Word:
    return lambda variant: replace(variant, config=replace(variant.config, **changes))


OTHER_RATE = "fs b"  # the words of `out_fs_b`, whose configuration is that of `out`
WORDS: dict[str, Word] = {  # in the name of an output, after `out_`
    "ica": lambda variant: variant,  # the words after it say how lambda comes about
    "learn": _with(image_stream="learned"),
    "fixed": _with(image_stream="fixed"),
    "noica": _with(image_stream="none"),
    "fs": _with(fps_condition=True),
    "nofs": _with(fps_condition=False),
    "fsdefault": lambda variant: replace(_with(fps_condition=True)(variant), fs=None),
    "noinit": _with(init_attention=False),
    "notconv": _with(temporal_conv=False),
    "notattn": _with(temporal_attention=False),
    "textonly": lambda variant: replace(variant, length=TEXT_TOKENS),
    OTHER_RATE: lambda variant: replace(variant, fs="fs_b"),
}
CONTEXT = re.compile(r"ctx(\d+)")


def variant_of(name: str, base: UNetConfig) -> Variant | None:
    """What the words of an output's name ("ica_learn_fs_ctx93") say; None when one of them is not known."""
    variant = Variant(base)
    for word in name.replace("fs_b", OTHER_RATE).split("_") if name else ():
        length = CONTEXT.fullmatch(word)
        if length:
            variant = replace(variant, length=int(length[1]))
        elif word in WORDS:
            variant = WORDS[word](variant)
        else:
            return None
    return variant


@torch.no_grad()
def check_unet(file: Path) -> Iterator[Case | Left]:
    """Kinds a and b: every output (`out`, `out_*`) by the words in its name, and the stages of one of them."""
    golden, metadata = read(file)
    base = read_unet_config(metadata["config"])
    names = {key.removeprefix("out").removeprefix("_"): key for key in golden if key == "out" or key.startswith("out_")}
    staged: list[Case | Left] = []
    built: tuple[UNetConfig, VideoUNet] | None = None  # the last one: a full-size U-Net is built once
    for name, key in sorted(names.items()):
        variant = variant_of(name, base)
        if variant is None or (variant.fs is not None and variant.config.fps_condition and variant.fs not in golden):
            yield Left(key, "no variant of a U-Net is known by that name")
            continue
        if built is None or built[0] != variant.config:
            built = None  # two would be in memory
            built = variant.config, filled_unet(variant.config)
        out, seen = run_recorded(built[1], partial(run_variant, built[1], golden, variant))
        yield compare(key if "out" in golden else name, out, golden[key])
        staged = max(staged, list(check_stages(golden, metadata, seen)), key=right)
        if key == "out":
            yield from check_default(golden, variant, built[1])
    yield from staged


def right(cases: list[Case | Left]) -> int:
    """How many comparisons are within their bounds: files do not say which output their stages are of."""
    return sum(isinstance(case, Case) and case.ok for case in cases) + (len(cases) > 0)


def run_variant(unet: VideoUNet, golden: Mapping[str, Tensor], variant: Variant) -> Tensor:
    """The output of a variant."""
    context = streams(golden["context"], variant.length, variant.config.image_stream != "none")
    return unet(golden["x"], golden["timesteps"], context, golden.get(variant.fs) if variant.fs else None)


def check_stages(
    golden: Mapping[str, Tensor], metadata: Mapping[str, Any], seen: Mapping[str, Tensor]
) -> Iterator[Case | Left]:
    """Outputs of stages: whole ones (some of a large U-Net, every one of a small one), and their statistics."""
    whole = {key: key.removeprefix("inter.") for key in golden if key.startswith("inter.") or key in seen}
    whole |= {key: key.removesuffix("_frame0") for key in golden if key.endswith("_frame0")}
    for key, stage in sorted(whole.items()):
        if stage not in seen:
            yield Left(key, "our U-Net has no such stage")
            continue
        got = seen[stage][: len(golden[key])] if key.endswith("_frame0") else seen[stage]
        yield compare(key, got, golden[key])
    if "stage_stats" in golden:
        for row, name in zip(golden["stage_stats"], metadata["stage_names"], strict=True):
            yield compare(f"stage_stats.{name}", summary(seen[name]), row)


def check_default(golden: Mapping[str, Tensor], variant: Variant, unet: VideoUNet) -> Iterator[Case]:
    """Without a rate, what the default rate gives: a file tells where the rate of its plain output is the default."""
    rate = golden.get("fs")
    if rate is not None and bool((rate == variant.config.default_fps).all()):
        yield compare("out_fs_default", run_variant(unet, golden, replace(variant, fs=None)), golden["out"])


def summary(x: Tensor) -> Tensor:
    """Mean, standard deviation, largest magnitude, first and last element."""
    flat = x.double().reshape(-1)  # in the order of the axes, whatever the order in memory
    return torch.stack([flat.mean(), flat.std(), flat.abs().max(), flat[0], flat[-1]])


@torch.no_grad()
def check_projector(file: Path) -> Iterator[Case | Left]:
    """Cases of a golden file of kind c."""
    tensors, metadata = read(file)
    for name, entry in metadata["meta"].items():
        if f"{name}.out" not in tensors:
            yield Left(name, "no result of it is in the file")
            continue
        projector = filled_projector(read_projector_config(entry["config"]))
        yield compare(name, projector(tensors[f"{name}.x"]), tensors[f"{name}.out"])
