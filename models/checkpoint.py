"""A whole released checkpoint and our modules: every entry has one place, strict in both directions.

A checkpoint holds the U-Net, the context projector, the autoencoder, CLIP's text and image towers, and the tables of
the noise schedule; `models/official_names.py` has the names, `models/tensor_files.py` opens files. Weights are copied
tensor by tensor out of a mapped file, so that loading takes the memory of the weights once.
Source: DynamiCrafter, arXiv:2310.12190; the state dict of the official code.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models import presets
from models.autoencoder import Autoencoder
from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter
from models.encoders import ImageEncoder, TextEncoder
from models.official_names import Official, projector_entries, unet_entries
from models.projector import ContextProjector
from models.schedule import Schedule, official_buffers
from models.tensor_files import OfficialState, official_state, open_official
from models.weights import uninitialised

__all__ = [  # with what callers need of the files beside this one
    "KEY_LISTS",
    "Loaded",
    "Modules",
    "Official",
    "OfficialState",
    "Released",
    "build_modules",
    "check_official",
    "expected_entries",
    "fitting",
    "is_official",
    "key_list",
    "load_official",
    "load_released",
    "misfits",
    "official_state",
    "open_official",
    "outline",
    "problems",
    "projector_entries",
    "schedule_entries",
    "to_official",
    "unet_entries",
    "unused_entries",
]

KEYS = Path(__file__).parent / "keys"
KEY_LISTS = {"256": "256", "512": "512", "1024": "512", "512_interp": "512"}  # the last three are the same
RELEASED: dict[str, Callable[[], ModelConfig]] = {
    "256": presets.dynamicrafter_256,
    "512": presets.dynamicrafter_512,
    "1024": presets.dynamicrafter_1024,
    "512_interp": presets.dynamicrafter_512_interp,
}
UNET, PROJECTOR, AUTOENCODER = "model.diffusion_model.", "image_proj_model.", "first_stage_model."
TEXT, IMAGE = "cond_stage_model.", "embedder."
PARTS = (UNET, AUTOENCODER, TEXT, IMAGE, PROJECTOR)
PART_NAMES: dict[str, Callable[[ModelConfig], nn.Module]] = {  # fields of Modules
    "model": DynamiCrafter,
    "autoencoder": lambda config: Autoencoder(config.autoencoder),
    "text_encoder": lambda config: TextEncoder(config.clip),
    "image_encoder": lambda config: ImageEncoder(config.clip),
}
NOT_SAVED = {"lvlb_weights"}
TABLE_BOUND = 1e-6  # relative; a table stored in half precision may be as wrong as that is


@dataclass(frozen=True)
class Modules:
    """Everything that a released checkpoint holds weights of."""

    model: DynamiCrafter
    autoencoder: Autoencoder
    text_encoder: TextEncoder
    image_encoder: ImageEncoder


@dataclass(frozen=True)
class Loaded:
    """What a checkpoint held beside weights.

    `schedule`: its tables, float32. `schedule_differs`: names of those that are not the configuration's.
    `unused`: names of the entries that no part of the model reads, as the text parts of the image tower.
    """

    schedule: dict[str, Tensor]
    schedule_differs: tuple[str, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class Released:
    """Parts of a checkpoint, ready for a pipeline.

    `modules`: by their names in PART_NAMES, those that were asked for, in eval mode. `schedule`: the one to sample
    with: the configuration's, or, where the checkpoint's tables are others, the checkpoint's, as the official code
    does.
    """

    modules: dict[str, nn.Module]
    schedule: Schedule
    loaded: Loaded

    @property
    def whole(self) -> Modules:
        """All four parts; raises KeyError when only some were asked for."""
        return Modules(**{name: self.modules[name] for name in PART_NAMES})  # type: ignore[arg-type]


def key_list(name: str) -> dict[str, tuple[int, ...]]:
    """{entry: shape} of a released checkpoint; `name` is a key of KEY_LISTS, else ValueError."""
    if name not in KEY_LISTS:
        raise ValueError(f"no key list {name!r}; known: {', '.join(KEY_LISTS)}")
    with gzip.open(KEYS / f"{KEY_LISTS[name]}.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    return {row[0]: tuple(int(n) for n in re.findall(r"\d+", row[1])) for row in rows}


def problems(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """A line per entry that is missing, left over or of another shape; [] when both are the same."""
    lines = [f"missing {name} {wanted[name]}" for name in wanted if name not in found]
    lines += [f"left over {name} {found[name]}" for name in found if name not in wanted]
    both = [name for name in wanted if name in found and found[name] != wanted[name]]
    return lines + [f"{name} has shape {found[name]}, expected {wanted[name]}" for name in both]


def odd_types(state: OfficialState) -> list[str]:
    """A line per entry that is not of floating point, as a quantised file's."""
    odd = [name for name, dtype in state.dtypes.items() if not dtype.is_floating_point]
    return [f"{name} has type {state.dtypes[name]}, expected one of floating point" for name in odd]


def is_official(names: Iterable[str]) -> bool:
    """Whether a state dict has the official layout: some entry lies in one of its parts."""
    return any(name.startswith(PARTS) for name in names)


def check_official(state: OfficialState) -> list[str]:
    """A line per missing, odd or left-over entry of a released checkpoint, by the shipped lists."""
    learned = any(name.endswith(".alpha") for name in state.shapes)  # only 256 has learned scales
    return problems(state.shapes, key_list("256" if learned else "512")) + odd_types(state)


def fitting(state: OfficialState) -> list[str]:
    """The released sizes that a checkpoint can be of: names of KEY_LISTS, [] when it is none of them.

    512 and 1024 have the same entries but another dynamic rescale; 512 and 512_interp differ in nothing stored.
    """
    if check_official(state):
        return []
    if "scale_arr" not in state.shapes:
        return ["256"]
    base = float(state.get("scale_arr")[-1])
    bases = {name: make().diffusion.dynamic_rescale for name, make in RELEASED.items()}
    return [name for name, own in bases.items() if own is not None and abs(own - base) < 1e-3]


def build_part(name: str, config: ModelConfig, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A part of a configuration (a key of PART_NAMES), in eval mode, its values undefined: fill every one of them."""
    with uninitialised(dtype):
        return PART_NAMES[name](config).eval()


def build_modules(config: ModelConfig, dtype: torch.dtype = torch.float32) -> Modules:
    """The four parts of a configuration, as `build_part`."""
    return Modules(**{name: build_part(name, config, dtype) for name in PART_NAMES})  # type: ignore[arg-type]


def outline(config: ModelConfig) -> Modules:
    """The four parts of a configuration without memory: names, shapes and tables alone."""
    with torch.device("meta"):
        return build_modules(config)


def load_released(
    path: Path, config: ModelConfig, parts: Iterable[str] = tuple(PART_NAMES), dtype: torch.dtype = torch.float32
) -> Released:
    """Parts of a checkpoint file (.ckpt, .pt or .safetensors) in the official layout, as tensors of type `dtype`.

    The whole file must fit `config`, whichever parts (keys of PART_NAMES) are asked for; only their values are read.
    Takes the memory of those weights once: the file is mapped. Raises ValueError when the file cannot be read as
    tensors alone, when it is a released checkpoint of another size, or, with the list of entries, when one is
    missing, left over, of another shape or not of floating point.
    """
    state, shape = open_official(path), outline(config)
    wrong = misfits(state, shape)
    others = fitting(state) if wrong else []
    if others:
        raise ValueError(f"{path} is a released checkpoint of size {' or '.join(others)}: say so with --profile")
    if wrong:
        raise ValueError(_refusal(str(path), wrong))
    modules = {name: build_part(name, config, dtype) for name in parts}
    for name, module in modules.items():
        fill(part_entries(name, module), state)
    loaded = _told(state, shape)
    schedule = Schedule(config.diffusion)
    return Released(modules, schedule.with_tables(loaded.schedule) if loaded.schedule_differs else schedule, loaded)


def misfits(state: OfficialState, modules: Modules) -> list[str]:
    """A line per entry for which a checkpoint cannot fill `modules`."""
    return problems(state.shapes, expected_entries(modules)) + odd_types(state)


def _refusal(source: str, wrong: list[str]) -> str:
    return f"{source} does not fit, {len(wrong)} entries:\n  " + "\n  ".join(wrong)


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


def part_entries(name: str, part: nn.Module) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    """{official entry: (our tensor, official shape)} of every tensor of a part (a key of PART_NAMES).

    Raises ValueError for a model without a projector: no official checkpoint has none.
    """
    if not isinstance(part, DynamiCrafter):
        prefix = {"autoencoder": AUTOENCODER, "text_encoder": TEXT, "image_encoder": IMAGE}[name]
        return {prefix + key: (tensor, tuple(tensor.shape)) for key, tensor in part.state_dict().items()}
    if not isinstance(part.projector, ContextProjector):
        raise ValueError(
            f"official checkpoints have a context projector; this model's context is {part.config.context!r}"
        )
    halves: list[tuple[str, nn.Module, dict[str, Official]]] = [
        (UNET, part.unet, unet_entries(part.unet)),
        (PROJECTOR, part.projector, projector_entries(part.projector)),
    ]
    return {
        prefix + entries[key].name: (tensor, entries[key].shape)
        for prefix, module, entries in halves
        for key, tensor in module.state_dict().items()
    }


def weight_entries(modules: Modules) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    """`part_entries` of all four modules."""
    parts = [part_entries(name, getattr(modules, name)) for name in PART_NAMES]
    return {name: entry for part in parts for name, entry in part.items()}


@torch.no_grad()
def fill(entries: Mapping[str, tuple[Tensor, tuple[int, ...]]], state: OfficialState) -> None:
    """Copies into our tensors, one at a time, each cast to the type it has there."""
    for name, (tensor, _) in entries.items():
        tensor.copy_(state.get(name).reshape(tensor.shape))


def expected_entries(modules: Modules) -> dict[str, tuple[int, ...]]:
    """{entry: shape} of the whole checkpoint that fits `modules`."""
    shapes = {name: tuple(table.shape) for name, table in schedule_entries(modules).items()}
    shapes |= {name: shape for name, (_, shape) in weight_entries(modules).items()}
    return shapes | unused_entries(modules)


def load_official(state: OfficialState, modules: Modules) -> Loaded:
    """Fills `modules` in place, one tensor at a time, each cast to the type it has there.

    Raises ValueError, and changes nothing, when an entry is missing, left over, of another shape or no float.
    """
    wrong = misfits(state, modules)
    if wrong:
        raise ValueError(_refusal("the checkpoint", wrong))
    fill(weight_entries(modules), state)
    return _told(state, modules)


def _told(state: OfficialState, modules: Modules) -> Loaded:
    """What the file holds beside the weights."""
    ours = schedule_entries(modules)
    stored = {name: state.get(name) for name in ours}
    differs = tuple(name for name in ours if not _agree(stored[name], ours[name]))
    tables = {name: table.float().clone() for name, table in stored.items()}
    return Loaded(tables, differs, tuple(unused_entries(modules)))


def _agree(stored: Tensor, ours: Tensor) -> bool:
    """Whether a stored table is ours, as precisely as its type can say."""
    bound = max(TABLE_BOUND, torch.finfo(stored.dtype).eps)
    return torch.allclose(stored.float(), ours, rtol=bound, atol=bound * float(ours.abs().max()))


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
