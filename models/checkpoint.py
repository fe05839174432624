"""Names of the official checkpoints and ours: one map, one to one, strict in both directions.

Official names are relative to their module here (`input_blocks.0.0.weight`); a whole checkpoint puts a prefix
before each. A tensor keeps its values; some weights drop a last axis of length 1 (a Conv3d over (3, 1, 1) is
a Conv2d over (3, 1) here, a Conv1d over 1 a Linear).
Source: DynamiCrafter, arXiv:2310.12190; the state dict of the official code.
"""

from __future__ import annotations

import gzip
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from models.blocks import Stage
from models.dynamicrafter import DynamiCrafter
from models.projector import ContextProjector
from models.schedule import Schedule, official_buffers
from models.unet import VideoUNet

if TYPE_CHECKING:
    from models.autoencoder import Autoencoder
    from models.encoders import ImageEncoder, TextEncoder


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
    return _entries(unet, lambda name: _unet_name(name, prefixes))


def projector_entries(projector: ContextProjector) -> dict[str, Official]:
    """{our name: official entry} of every tensor of the projector, relative to `image_proj_model.`"""
    return _entries(projector, lambda name: rename(name, PROJECTOR_RULES))


def _entries(module: nn.Module, official: Callable[[str], str]) -> dict[str, Official]:
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


# Whole checkpoints

KEYS = Path(__file__).parent / "keys"
KEY_LISTS = {"256": "256", "512": "512", "1024": "512", "512_interp": "512"}  # the last three are the same
DEEPSPEED_PREFIX = 16  # characters before each name in a deepspeed file, `_forward_module.`
NOT_SAVED = {"lvlb_weights"}


@dataclass(frozen=True)
class Modules:
    """Everything that a released checkpoint holds weights of."""

    model: DynamiCrafter
    autoencoder: Autoencoder
    text_encoder: TextEncoder
    image_encoder: ImageEncoder


@dataclass(frozen=True)
class OfficialState:
    """Tensors under official names; shapes are known at once, a tensor is read when it is asked for."""

    shapes: Mapping[str, tuple[int, ...]]
    get: Callable[[str], Tensor]


@dataclass(frozen=True)
class Loaded:
    """What a checkpoint held beside weights.

    `schedule`: its tables, float32. `schedule_differs`: names of those that are not the configuration's.
    `unused`: names of the entries that no part of the model reads, as the text parts of the image tower.
    """

    schedule: dict[str, Tensor]
    schedule_differs: tuple[str, ...]
    unused: tuple[str, ...]


def key_list(name: str) -> dict[str, tuple[int, ...]]:
    """{entry: shape} of a released checkpoint; `name` is a key of KEY_LISTS, else ValueError."""
    if name not in KEY_LISTS:
        raise ValueError(f"no key list {name!r}; known: {', '.join(KEY_LISTS)}")
    with gzip.open(KEYS / f"{KEY_LISTS[name]}.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    return {row[0]: tuple(int(n) for n in re.findall(r"\d+", row[1])) for row in rows}


def official_state(state: Mapping[str, Tensor]) -> OfficialState:
    """A state dict in memory; see `standard_names` for the names that are understood."""
    names = standard_names(state)
    return OfficialState({n: tuple(state[k].shape) for n, k in names.items()}, lambda n: state[names[n]])


def open_official(path: Path) -> OfficialState:
    """A checkpoint file, not read into memory: safetensors, or a zip-format .ckpt or .pt; none of it is run.

    A state dict may be the file itself, or be under "state_dict", or under "module" (deepspeed).
    Raises ValueError when the file is neither, or holds objects beside plain containers and tensors.
    """
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise ValueError(
            f"weights: {path} cannot be read as tensors alone ({type(error).__name__}: {error}); "
            "a file that needs its own code to be read is never run: save its state dict as safetensors"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("module"), Mapping):
        content = {name[DEEPSPEED_PREFIX:]: tensor for name, tensor in content["module"].items()}
    elif isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(x, Tensor) for x in content.values()):
        raise ValueError(f"weights: {path} is not a state dict, nor has one under 'state_dict' or 'module'")
    return official_state(content)


def _open_safetensors(path: Path) -> OfficialState:
    try:
        file = safe_open(str(path), "pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights: {path} is not a readable safetensors file ({error})") from error
    names = standard_names(file.keys())
    shapes = {name: tuple(file.get_slice(stored).get_shape()) for name, stored in names.items()}
    return OfficialState(shapes, lambda name: file.get_tensor(names[name]))


def standard_names(stored: Iterable[str]) -> dict[str, str]:
    """{standard name: stored name}: early 256 checkpoints say `framestride_embed` for `fps_embedding`.

    Raises ValueError when an entry is there under both.
    """
    stored = list(stored)
    names = {name.replace("framestride_embed.", "fps_embedding."): name for name in stored}
    if len(names) < len(stored):
        raise ValueError("weights: an entry is there twice, as framestride_embed and as fps_embedding")
    return names


def problems(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """A line per entry that is missing, left over or of another shape; [] when both are the same."""
    lines = [f"missing {name} {wanted[name]}" for name in wanted if name not in found]
    lines += [f"left over {name} {found[name]}" for name in found if name not in wanted]
    both = [name for name in wanted if name in found and found[name] != wanted[name]]
    return lines + [f"{name} has shape {found[name]}, expected {wanted[name]}" for name in both]


def check_official(state: OfficialState) -> list[str]:
    """A line per missing, odd or left-over entry of a released checkpoint, by the shipped lists."""
    learned = any(name.endswith(".alpha") for name in state.shapes)  # only 256 has learned scales
    return problems(state.shapes, key_list("256" if learned else "512"))


def unused_entries(modules: Modules) -> dict[str, tuple[int, ...]]:
    """Entries of a checkpoint that nothing reads: joint-space projections, CLIP's last text block, others."""
    clip = modules.model.config.clip
    text, image = "cond_stage_model.model.", "embedder.model."
    joint = {"text_projection": (clip.text_width, clip.embed_dim), "logit_scale": ()}
    block = modules.text_encoder.model.transformer.resblocks[0].state_dict()
    entries: dict[str, tuple[int, ...]] = {text + name: shape for name, shape in joint.items()}
    last = f"{text}transformer.resblocks.{clip.text_layers - 1}."
    entries |= {last + name: tuple(tensor.shape) for name, tensor in block.items()}
    entries |= {image + name: shape for name, shape in joint.items()}
    return entries | {
        image + "positional_embedding": (clip.text_length, clip.text_width),
        image + "token_embedding.weight": (clip.vocab_size, clip.text_width),
        image + "ln_final.weight": (clip.text_width,),
        image + "ln_final.bias": (clip.text_width,),
        image + "visual.ln_post.weight": (clip.vision_width,),
        image + "visual.ln_post.bias": (clip.vision_width,),
        image + "visual.proj": (clip.vision_width, clip.embed_dim),
    }


def schedule_entries(modules: Modules) -> dict[str, Tensor]:
    """The schedule's tables as a checkpoint stores them."""
    tables = official_buffers(Schedule(modules.model.config.diffusion))
    return {name: table for name, table in tables.items() if name not in NOT_SAVED}


def weight_entries(modules: Modules) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    """{official entry: (our tensor, official shape)} of every tensor of the four modules.

    Raises ValueError for a model without a projector: no official checkpoint has none.
    """
    projector = modules.model.projector
    if not isinstance(projector, ContextProjector):
        raise ValueError("official checkpoints have a context projector; this model's context is 'none'")
    frozen = (modules.autoencoder, modules.text_encoder, modules.image_encoder)
    parts: list[tuple[str, nn.Module, dict[str, Official]]] = [
        ("model.diffusion_model.", modules.model.unet, unet_entries(modules.model.unet)),
        ("image_proj_model.", projector, projector_entries(projector)),
    ]
    for prefix, module in zip(("first_stage_model.", "cond_stage_model.", "embedder."), frozen, strict=True):
        parts.append((prefix, module, _entries(module, lambda name: name)))
    return {
        prefix + entries[name].name: (tensor, entries[name].shape)
        for prefix, module, entries in parts
        for name, tensor in module.state_dict().items()
    }


def expected_entries(modules: Modules) -> dict[str, tuple[int, ...]]:
    """{entry: shape} of the whole checkpoint that fits `modules`."""
    shapes = {name: tuple(table.shape) for name, table in schedule_entries(modules).items()}
    shapes |= {name: shape for name, (_, shape) in weight_entries(modules).items()}
    return shapes | unused_entries(modules)


@torch.no_grad()
def load_official(state: OfficialState, modules: Modules) -> Loaded:
    """Fills `modules` in place, one tensor at a time, each cast to the type it has there.

    Raises ValueError, and changes nothing, when an entry is missing, left over or of another shape.
    """
    wrong = problems(state.shapes, expected_entries(modules))
    if wrong:
        raise ValueError(f"the checkpoint does not fit, {len(wrong)} entries:\n  " + "\n  ".join(wrong))
    for name, (tensor, _) in weight_entries(modules).items():
        tensor.copy_(state.get(name).reshape(tensor.shape))
    ours = schedule_entries(modules)
    stored = {name: state.get(name).float() for name in ours}
    differs = [n for n in ours if not torch.allclose(stored[n], ours[n], rtol=1e-4, atol=1e-6)]
    return Loaded(stored, tuple(differs), tuple(unused_entries(modules)))


def to_official(modules: Modules, rest: OfficialState) -> dict[str, Tensor]:
    """A whole official state dict of `modules`, without a copy; what nothing here reads comes from `rest`.

    Raises ValueError when `rest` lacks one of those entries.
    """
    wanted = unused_entries(modules)
    wrong = problems({name: state for name, state in rest.shapes.items() if name in wanted}, wanted)
    if wrong:
        raise ValueError("entries that no part here has must be given in `rest`:\n  " + "\n  ".join(wrong))
    weights = {name: tensor.reshape(shape) for name, (tensor, shape) in weight_entries(modules).items()}
    return {**schedule_entries(modules), **weights, **{name: rest.get(name) for name in wanted}}
