"""Do the U-Net and the context projector compute what the official code computed?

Reads golden files of kinds a (full-size U-Net), b (small U-Net: nine variants, every block) and c
(projector): inputs and outputs, the configuration in the metadata; weights from a rule that needs no file.
Source: outputs of the official DynamiCrafter code (commit c453369), float32 on CPU.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from models.checkpoint import Official, projector_entries, unet_entries
from models.config import ProjectorConfig, UNetConfig
from models.projector import ContextProjector
from models.unet import VideoUNet

BOUND = 2e-5  # on rel L2; the official code itself moves by 2e-6 between one and two threads
TEXT_TOKENS = 77  # the official context is text and image tokens in one, cut here


@dataclass(frozen=True)
class Case:
    """One comparison: the largest absolute difference, and |got - want| / |want|."""

    name: str
    max_abs: float
    rel_l2: float
    bound: float

    @property
    def ok(self) -> bool:
        """Whether the relative error is within the bound; never with a NaN."""
        return self.rel_l2 <= self.bound


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


def read_unet_config(official: Mapping[str, Any]) -> UNetConfig:
    """An official U-Net configuration as ours."""
    image: Literal["learned", "fixed", "none"] = "none"
    if official["image_cross_attention"]:
        image = "learned" if official["image_cross_attention_scale_learnable"] else "fixed"
    return UNetConfig(
        in_channels=official["in_channels"],
        out_channels=official["out_channels"],
        model_channels=official["model_channels"],
        channel_mult=tuple(official["channel_mult"]),
        num_res_blocks=official["num_res_blocks"],
        attention_resolutions=tuple(official["attention_resolutions"]),
        num_head_channels=official["num_head_channels"],
        transformer_depth=official["transformer_depth"],
        context_dim=official["context_dim"],
        dropout=official["dropout"],
        temporal_conv=official["temporal_conv"],
        temporal_attention=official["temporal_attention"],
        init_attention=official["addition_attention"],
        image_stream=image,
        fps_condition=official["fs_condition"],
        default_fps=official["default_fs"],
    )


def read_projector_config(official: Mapping[str, Any]) -> ProjectorConfig:
    """An official Resampler configuration as ours."""
    return ProjectorConfig(
        dim=official["dim"],
        depth=official["depth"],
        head_channels=official["dim_head"],
        heads=official["heads"],
        tokens_per_frame=official["num_queries"],
        frames=official["video_length"],
        embedding_dim=official["embedding_dim"],
        output_dim=official["output_dim"],
        ff_mult=official["ff_mult"],
    )


def streams(context: Tensor, length: int | None = None) -> dict[str, Tensor]:
    """An official context cut to `length` tokens, as text and image tokens."""
    return {"text": context[:, :TEXT_TOKENS], "image": context[:, TEXT_TOKENS:length]}


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a golden file, and its metadata, decoded."""
    with safe_open(str(file), "pt") as opened:
        metadata = {key: json.loads(value) for key, value in (opened.metadata() or {}).items()}
        return {key: opened.get_tensor(key) for key in opened.keys()}, metadata  # noqa: SIM118


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


def small_variants(base: UNetConfig) -> dict[str, tuple[UNetConfig, int | None, bool, bool]]:
    """{golden name: (configuration, context length, image tokens given, fs given)} of kind b."""
    no_image = replace(base, image_stream="none")
    return {
        "ica_learn_fs": (base, None, True, True),
        "ica_learn_fsdefault": (base, None, True, False),
        "ica_learn_fs_ctx93": (base, TEXT_TOKENS + 16, True, True),
        "ica_fixed_fs": (replace(base, image_stream="fixed"), None, True, True),
        "noica_fs": (no_image, None, False, True),
        "noica_fs_textonly": (no_image, None, False, True),
        "ica_learn_nofs": (replace(base, fps_condition=False), None, True, True),
        "ica_learn_fs_noinit": (replace(base, init_attention=False), None, True, True),
        "ica_learn_fs_notconv": (replace(base, temporal_conv=False), None, True, True),
    }


@torch.no_grad()
def check_unet(file: Path) -> Iterator[Case]:
    """Cases of a golden file of kind a or b, told apart by its tensors."""
    tensors, metadata = read(file)
    config = read_unet_config(metadata["config"])
    if "out" in tensors:
        yield from check_full_unet(tensors, metadata, config)
    else:
        yield from check_small_unet(tensors, config)


def check_small_unet(golden: Mapping[str, Tensor], base: UNetConfig) -> Iterator[Case]:
    """Kind b: every variant's output, and every stage of the first one."""
    for name, (config, length, image, fs) in small_variants(base).items():
        unet = filled_unet(config)
        context = streams(golden["context"], length)
        chosen = context if image else {"text": context["text"]}
        rate = golden["fs"] if fs else None
        out, seen = run_recorded(unet, partial(unet, golden["x"], golden["timesteps"], chosen, rate))
        yield compare(name, out, golden[f"out_{name}"])
        if name == "ica_learn_fs":
            for key in sorted(k for k in golden if k.startswith("inter.")):
                yield compare(key, seen[key.removeprefix("inter.")], golden[key])


def check_full_unet(
    golden: Mapping[str, Tensor], metadata: Mapping[str, Any], config: UNetConfig
) -> Iterator[Case]:
    """Kind a: the full-size U-Net; about 6 GB of memory."""
    unet = filled_unet(config)

    def run(fs: Tensor | None, length: int | None = None) -> Tensor:
        return unet(golden["x"], golden["timesteps"], streams(golden["context"], length), fs)

    out, seen = run_recorded(unet, lambda: run(golden["fs"]))
    yield compare("out", out, golden["out"])
    for key in ("time_embed", "fps_embedding", "middle_block"):
        yield compare(key, seen[key], golden[key])
    yield compare("init_attn_frame0", seen["init_attn"][:1], golden["init_attn_frame0"])
    for row, name in zip(golden["stage_stats"], metadata["stage_names"], strict=True):
        yield compare(f"stage_stats.{name}", summary(seen[name]), row)
    yield compare("out_fs_b", run(golden["fs_b"]), golden["out_fs_b"])
    yield compare("out_fs_default", run(None), golden["out"])
    yield compare("out_ctx93", run(golden["fs"], TEXT_TOKENS + 16), golden["out_ctx93"])


def summary(x: Tensor) -> Tensor:
    """Mean, standard deviation, largest magnitude, first and last element."""
    flat = x.double().reshape(-1)  # in the order of the axes, whatever the order in memory
    return torch.stack([flat.mean(), flat.std(), flat.abs().max(), flat[0], flat[-1]])


@torch.no_grad()
def check_projector(file: Path) -> Iterator[Case]:
    """Cases of a golden file of kind c."""
    tensors, metadata = read(file)
    for name, entry in metadata["meta"].items():
        projector = filled_projector(read_projector_config(entry["config"]))
        yield compare(name, projector(tensors[f"{name}.x"]), tensors[f"{name}.out"])
