"""How does another project's checkpoint become a starting point: what maps onto our names, what is new, what unused?

Roles: "t2i", the image model of stage i; "t2v", the video model of stages ii and iii; "vae", the autoencoder; "clip",
both towers of OpenCLIP. Layouts, told apart by their entries: this project's own; Stable Diffusion 2 (`ldm`, as
v2-1_512-ema-pruned); VideoCrafter's text-to-video (its model of 2024, which has DynamiCrafter's layers but for the
image stream); a released DynamiCrafter (autoencoder and towers); OpenCLIP's own; an autoencoder alone.
Source: DynamiCrafter, arXiv:2310.12190, section 3.3; the public configurations of Stable Diffusion 2 and VideoCrafter.
No released file of either was at hand: names and shapes are derived from the modules, and agree with the published
counts (686 entries and 865,910,724 values of Stable Diffusion 2's U-Net).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.autoencoder import Autoencoder
from models.checkpoint import AUTOENCODER, IMAGE, PROJECTOR, TEXT, UNET, odd_types, problems
from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter, parameter_group, text_to_image, text_to_video
from models.encoders import ClipPair
from models.initialise import Inherited, inherit
from models.official_names import Official, unet_entries
from models.schedule import Schedule, official_buffers
from models.tensor_files import LazyState, OfficialState, open_official

KINDS = ("t2i", "t2v", "vae", "clip")
OURS, STABLE_DIFFUSION, VIDEOCRAFTER = "this project", "Stable Diffusion", "VideoCrafter text-to-video"
DYNAMICRAFTER, OPENCLIP, VAE = "DynamiCrafter", "OpenCLIP", "an autoencoder alone"
EMA = "model_ema."
OTHER = (AUTOENCODER, TEXT, EMA, "scale_arr", "logvar")  # beside the U-Net: other roles' parts, and what nobody reads
MAY_LACK = {  # layers that a parent may be without, all of a kind or none: they start as the identity
    "the frame rate": re.compile(r"^rate_embedding\."),
    "the first temporal transformer": re.compile(r"^initial\."),
    "temporal convolutions": re.compile(r"\.temporal_conv(_in|_out)?\."),
}
Outline = Mapping[str, tuple[Official, tuple[int, ...]]]
STARTS = {  # parameter group: how a parameter starts that the parent lacks
    "projector": "drawn as PyTorch draws linear layers, the queries normal over the root of their width",
    "image_stream": "drawn as PyTorch draws linear layers, as in the official code",
    "lambda": "alpha 0: lambda 1",
    "detail": "drawn to keep the latent's scale, behind weights of conv_in that are zero",
    "conv_in": "zero",
    "spatial": "the frame rate's last layer zero: it adds nothing yet",
    "temporal": "the last layer of each block zero: a clip's frames do not see each other yet",
}


@dataclass(frozen=True)
class Parent:
    """A file as a starting point.

    Args:
        layout: whose names the file has.
        state: its weights under our names, each read when it is asked for.
        new: our names of what a model of its kind has and the file has not.
        unused: entries of the file that this role does not read.
    """

    layout: str
    state: Mapping[str, Tensor]
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def open_parent(path: Path, kind: str, config: ModelConfig) -> Parent:
    """The file as the parent of its kind (one of KINDS) for a model of `config`.

    Raises ValueError when the file cannot be read as tensors alone, is no parent of this kind, or does not fit, with
    the list of entries that are missing, left over or of another shape.
    """
    try:
        return parent_of(open_official(path), kind, config)
    except ValueError as error:
        words = str(error)
        raise ValueError(words if str(path) in words else f"weights: {path} as {kind}: {words}") from None


def parent_of(state: OfficialState, kind: str, config: ModelConfig) -> Parent:
    """As `open_parent`, of an open file."""
    if kind not in KINDS:
        raise ValueError(f"parent is {kind!r}; known: {', '.join(KINDS)}")
    layout = layout_of(state.shapes)
    if layout == OURS:
        return Parent(OURS, LazyState(state))
    if kind == "vae":
        return _autoencoder(state, layout, config)
    return _towers(state, layout, config) if kind == "clip" else _unet(state, layout, kind, config)


def layout_of(names: Collection[str]) -> str:
    """Whose names these are, one of the constants above; "unknown" for none of them."""
    if any(name.startswith(UNET) for name in names):
        if any(name.startswith((IMAGE, PROJECTOR)) for name in names):
            return DYNAMICRAFTER
        along_time = any(name.startswith((f"{UNET}middle_block.3.", f"{UNET}init_attn.")) for name in names)
        return VIDEOCRAFTER if along_time else STABLE_DIFFUSION
    if any(name.startswith(("unet.", "projector.", "model.visual.", "model.token_embedding.")) for name in names):
        return OURS
    if "visual.conv1.weight" in names:
        return OPENCLIP
    return VAE if {"encoder.conv_in.weight", "decoder.conv_in.weight"} <= set(names) else "unknown"


def start_from(model: nn.Module, parent: Parent) -> Inherited:
    """Copies the parent's weights into `model`; what it lacks keeps its initial value. Raises as `inherit`."""
    return replace(inherit(model, parent.state), unused=parent.unused)


def tell(inherited: Inherited) -> list[str]:
    """What a model took from its parent, what is new and how that starts, and what of the file is unused."""
    groups: dict[str, list[str]] = {}
    for name in inherited.new:
        groups.setdefault(parameter_group(name), []).append(name)
    lines = [f"taken: {len(inherited.loaded)} tensors"]
    lines += [f"new, {group}: {len(names)} tensors; {STARTS[group]}" for group, names in groups.items()]
    return lines + ([f"unused: {families(inherited.unused)}"] if inherited.unused else [])


def families(names: Iterable[str]) -> str:
    """Entries by the first part of their name, counted: "first_stage_model 248, betas"."""
    counts: dict[str, int] = {}
    for name in names:
        first = name.partition(".")[0]
        counts[first] = counts.get(first, 0) + 1
    return ", ".join(name if count == 1 else f"{name} {count}" for name, count in counts.items())


def _unet(state: OfficialState, layout: str, kind: str, config: ModelConfig) -> Parent:
    """The U-Net of an image or video model."""
    if layout not in (STABLE_DIFFUSION, VIDEOCRAFTER):
        raise ValueError(f"it is {layout}; allowed are Stable Diffusion 2, VideoCrafter and this project's own")
    if layout == VIDEOCRAFTER and kind == "t2i":
        raise ValueError("a video model is no image model; give it as t2v, and Stable Diffusion 2.1 as t2i")
    outline = _outline(text_to_video(config) if layout == VIDEOCRAFTER else text_to_image(config))
    found = _averaged(state, outline)
    absent = _lacking(outline, found.shapes)
    wanted = {entry.name: entry.shape for our, (entry, _) in outline.items() if our not in absent}
    others = [name for name in state.shapes if not name.startswith(UNET)]
    known = (*OTHER, *official_buffers(Schedule(config.diffusion)))
    wrong = problems(found.shapes, wanted) + odd_types(found)
    wrong += [f"left over {name} {state.shapes[name]}" for name in others if not name.startswith(known)]
    if wrong:
        raise ValueError(_listed(wrong))
    names = {our: entry.name for our, (entry, _) in outline.items() if our not in absent}
    whole = _outline(text_to_video(config)) if kind == "t2v" else outline
    new = tuple(our for our in whole if our not in names)
    shapes = {our: shape for our, (_, shape) in outline.items()}
    return Parent(layout, LazyState(found.renamed(names), shapes), new, tuple(others))


def _outline(config: ModelConfig) -> Outline:
    """{our name: (entry relative to the U-Net, our shape)} of a model that is a U-Net alone."""
    with torch.device("meta"):
        unet = DynamiCrafter(config).unet
    shapes = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    return {f"unet.{name}": (entry, shapes[name]) for name, entry in unet_entries(unet).items()}


def _averaged(state: OfficialState, outline: Outline) -> OfficialState:
    """The U-Net's entries; of a file that also holds their running averages, these.

    Averages are what such a model is sampled with, and stage i trains against a model that stays as it is. Their
    names have lost the dots.
    """
    plain = state.part(UNET)
    of = {name: EMA + f"diffusion_model.{name}".replace(".", "") for name in (e.name for e, _ in outline.values())}
    if not any(name in state.shapes for name in of.values()):
        return plain
    lacking = [f"missing {average}" for average in of.values() if average not in state.shapes]
    lacking += [f"left over {UNET}{name} {plain.shapes[name]}" for name in plain.shapes if name not in of]
    if lacking:
        raise ValueError(_listed(lacking))
    return state.renamed(of)


def _lacking(outline: Outline, found: Collection[str]) -> set[str]:
    """Our names of layers that a file is without, all of their kind, and may be; see MAY_LACK."""
    absent: set[str] = set()
    for pattern in MAY_LACK.values():
        kind = [our for our in outline if pattern.search(our.removeprefix("unet."))]
        if not any(outline[our][0].name in found for our in kind):
            absent.update(kind)
    return absent


def _autoencoder(state: OfficialState, layout: str, config: ModelConfig) -> Parent:
    """The autoencoder out of a whole model, or alone (with what its training left in the file)."""
    inside = layout in (STABLE_DIFFUSION, VIDEOCRAFTER, DYNAMICRAFTER)
    if not inside and layout != VAE:
        raise ValueError("it holds no autoencoder under a name that is known (first_stage_model., or none before it)")
    if inside:
        unused = [name for name in state.shapes if not name.startswith(AUTOENCODER)]
    else:
        unused = [name for name in state.shapes if name.startswith(("loss.", EMA))]
    found = state.part(AUTOENCODER) if inside else state.without(unused)
    with torch.device("meta"):
        wanted = Autoencoder(config.autoencoder).state_dict()
    return _whole(found, wanted, layout, unused)


def _towers(state: OfficialState, layout: str, config: ModelConfig) -> Parent:
    """Both towers of CLIP, under the names of `ClipPair`."""
    if layout == OPENCLIP:
        names = {f"model.{name}": name for name in state.shapes}
    elif layout == DYNAMICRAFTER:
        names = {n.removeprefix(TEXT): n for n in state.shapes if n.startswith(TEXT)}
        names |= {n.removeprefix(IMAGE): n for n in state.shapes if n.startswith(f"{IMAGE}model.visual.")}
    else:
        raise ValueError(
            "CLIP's image tower is not in it; allowed are OpenCLIP's own file (ViT-H-14) and a released DynamiCrafter"
        )
    with torch.device("meta"):
        wanted = ClipPair(config.clip).state_dict()
    return _whole(state.renamed(names), wanted, layout, [n for n in state.shapes if n not in names.values()])


def _whole(found: OfficialState, wanted: Mapping[str, Tensor], layout: str, unused: Iterable[str]) -> Parent:
    """A part whose names are ours already, strictly."""
    wrong = problems(found.shapes, {name: tuple(tensor.shape) for name, tensor in wanted.items()}) + odd_types(found)
    if wrong:
        raise ValueError(_listed(wrong))
    return Parent(layout, LazyState(found), (), tuple(unused))


def _listed(wrong: list[str]) -> str:
    relative = any("relative_position" in line for line in wrong)
    hint = "VideoCrafter's first models have relative positions, which this network has not: take its second; "
    return f"{hint if relative else ''}it does not fit, {len(wrong)} entries:\n  " + "\n  ".join(wrong)
