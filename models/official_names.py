"""Which official name does a tensor of ours have? One map, one to one, derived from the modules themselves.

Official names are relative to their module here (`input_blocks.0.0.weight`); a whole checkpoint puts a prefix
before each. A tensor keeps its values; some weights drop a last axis of length 1 (a Conv3d over (3, 1, 1) is
a Conv2d over (3, 1) here, a Conv1d over 1 a Linear).
Source: DynamiCrafter, arXiv:2310.12190; the state dict of the official code. The image model that it starts from
(Stable Diffusion 2, `ldm` layout) and the video model (VideoCrafter) name and number their layers by the same rules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from torch import nn

from models.blocks import Stage
from models.projector import ContextProjector
from models.unet import VideoUNet


class Official(NamedTuple):
    """An entry of the official state dict."""

    name: str
    shape: tuple[int, ...]


Rules = tuple[tuple[str, str], ...]  # (pattern in our name, official words), all applied in order

LAYER_RULES: Rules = (  # inside one layer of a stage of the U-Net
    # residual block
    (r"^norm_in\.", "in_layers.0."),
    (r"^conv_in\.", "in_layers.2."),
    (r"^embed\.", "emb_layers.1."),
    (r"^norm_out\.", "out_layers.0."),
    (r"^conv_out\.", "out_layers.3."),
    (r"^skip\.", "skip_connection."),
    # temporal convolution: conv1 has no dropout, so its convolution is number 2, else 3
    (r"^steps\.0\.norm\.", "conv1.0."),
    (r"^steps\.0\.conv\.", "conv1.2."),
    (r"^steps\.1\.norm\.", "conv2.0."),
    (r"^steps\.1\.conv\.", "conv2.3."),
    (r"^steps\.2\.norm\.", "conv3.0."),
    (r"^steps\.2\.conv\.", "conv3.3."),
    (r"^steps\.3\.norm\.", "conv4.0."),
    (r"^steps\.3\.conv\.", "conv4.3."),
    # transformers
    (r"^linear_in\.", "proj_in."),
    (r"^linear_out\.", "proj_out."),
    (r"^blocks\.", "transformer_blocks."),
    (r"\.feed_forward\.linear_in\.", ".ff.net.0.proj."),
    (r"\.feed_forward\.linear_out\.", ".ff.net.2."),
    (r"\.(self|first)_attention\.", ".attn1."),
    (r"\.(cross|second)_attention\.", ".attn2."),
    (r"\.to_out\.", ".to_out.0."),
    (r"\.streams\.text\.(to_[kv])\.", r".\1."),
    (r"\.streams\.image\.(to_[kv])\.", r".\1_ip."),
    (r"\.streams\.image\.alpha$", ".alpha"),
)
DOWNSAMPLE_RULES: Rules = ((r"^conv\.", "op."),)
OUTER_RULES: Rules = (  # of the U-Net, outside its stages
    (r"^time_embedding\.linear_in\.", "time_embed.0."),
    (r"^time_embedding\.linear_out\.", "time_embed.2."),
    (r"^rate_embedding\.linear_in\.", "fps_embedding.0."),
    (r"^rate_embedding\.linear_out\.", "fps_embedding.2."),
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
)
PROJECTOR_RULES: Rules = (
    (r"^queries$", "latents"),
    (r"^linear_in\.", "proj_in."),
    (r"^linear_out\.", "proj_out."),
    (r"\.attention\.norm_tokens\.", ".0.norm1."),
    (r"\.attention\.norm_queries\.", ".0.norm2."),
    (r"\.attention\.", ".0."),
    (r"\.feed_forward\.norm\.", ".1.0."),
    (r"\.feed_forward\.linear_in\.", ".1.1."),
    (r"\.feed_forward\.linear_out\.", ".1.3."),
)
ONES = (  # (weights of ours whose official shape ends in a 1)
    re.compile(r"\.temporal_conv\w*\.steps\.\d\.conv\.weight$"),
    re.compile(r"^initial\.temporal\.linear_(in|out)\.weight$"),
)


def rename(name: str, rules: Rules) -> str:
    """`name` after all rules."""
    for pattern, words in rules:
        name = re.sub(pattern, words, name)
    return name


def unet_entries(unet: VideoUNet) -> dict[str, Official]:
    """{our name: official entry} of every tensor of the U-Net, relative to `model.diffusion_model.`"""
    prefixes = dict(_layer_prefixes(unet))
    return named_entries(unet, lambda name: _unet_name(name, prefixes))


def projector_entries(projector: ContextProjector) -> dict[str, Official]:
    """{our name: official entry} of every tensor of the projector, relative to `image_proj_model.`"""
    return named_entries(projector, lambda name: rename(name, PROJECTOR_RULES))


def named_entries(module: nn.Module, official: Callable[[str], str]) -> dict[str, Official]:
    """Names every tensor of `module`; raises ValueError when two would get one name."""
    entries = {
        name: Official(official(name), (*tensor.shape, *[1] * any(p.search(name) for p in ONES)))
        for name, tensor in module.state_dict().items()
    }
    twice = [name for name, count in Counter(e.name for e in entries.values()).items() if count > 1]
    if twice:
        raise ValueError(f"two tensors have one official name: {', '.join(twice)}")
    return entries


def _layer_prefixes(unet: VideoUNet) -> Iterator[tuple[str, str]]:
    """(our prefix, official prefix) of every layer of every stage."""
    yield from _stage_prefixes(unet.initial, "initial", "init_attn")
    for number, stage in enumerate(unet.down):
        yield from _stage_prefixes(stage, f"down.{number}", f"input_blocks.{number + 1}")
    yield from _stage_prefixes(unet.middle, "middle", "middle_block")
    for number, stage in enumerate(unet.up):
        yield from _stage_prefixes(stage, f"up.{number}", f"output_blocks.{number}")


def _stage_prefixes(stage: nn.Module, ours: str, official: str) -> Iterator[tuple[str, str]]:
    """The official code numbers the layers of a stage; a temporal convolution is inside its predecessor."""
    assert isinstance(stage, Stage)
    number = -1
    for name in stage:
        if name.startswith("temporal_conv"):
            yield f"{ours}.{name}.", f"{official}.{number}.temopral_conv."  # (sic)
            continue
        number += 1
        yield f"{ours}.{name}.", f"{official}.{number}."


def _unet_name(name: str, prefixes: Mapping[str, str]) -> str:
    for ours, official in prefixes.items():
        if name.startswith(ours):
            rules = DOWNSAMPLE_RULES if ours.endswith(".downsample.") else LAYER_RULES
            return official + rename(name.removeprefix(ours), rules)
    return rename(name, OUTER_RULES)
