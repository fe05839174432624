"""How does somebody else's file of weights become a safetensors file, and ours one in the official layout? Once.

A converted file opens at once, is mapped, and holds nothing but tensors. Tensors are written one after the other: no
more than one is in memory. Its card says what it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, UsageError, known
from bench.fingerprint import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

    from models.config import ModelConfig
    from models.tensor_files import OfficialState

Say = Callable[[str], None]
DYNAMICRAFTER = "dynamicrafter"
DTYPES = ("float16", "bfloat16", "float32")
FROZEN = ("vae", "clip")  # what a checkpoint holds beside our model


@dataclass(frozen=True)
class Request:
    """What a user asked for.

    Args:
        source: the file.
        out: the safetensors file to write.
        kind: what the file must be: "dynamicrafter" or a measuring network; "": the file shall say.
        dtype: one of DTYPES; None: as in the file.
        profile: whose sizes the file must have; "": those of a released checkpoint.
        weights: files of "vae" and "clip" that go into a checkpoint beside our model.
        trust: a TorchScript archive may run its code.
        to_official: the file is our model, to be written in the official layout.
    """

    source: Path
    out: Path
    kind: str = ""
    dtype: str | None = None
    profile: str = ""
    weights: Mapping[str, Path] = field(default_factory=dict)
    trust: bool = False
    to_official: bool = False


def convert(request: Request, say: Say) -> None:
    """Writes `request.out`. Raises UsageError for what was asked wrongly, BenchError for a file that does not fit."""
    check(request)
    try:
        if request.to_official:
            return export(request, say)
        state = _open(request)
        if state is not None:
            config = config_of(request.profile) if request.profile else None
            return _write(request, state, card_of(request.source), say, config)
    except (ValueError, OSError) as error:
        raise BenchError(f"convert: {error}") from error
    from bench.metrics.convert import convert_measuring

    if not convert_measuring(request, say):
        raise BenchError(f"convert: {request.source} is no file of weights that is known here")
    return None


def check(request: Request) -> None:
    """Refuses what cannot be done, before anything is read; raises UsageError with every reason."""
    from bench.metrics.convert import KINDS

    kinds = (DYNAMICRAFTER, *KINDS)
    errors = []
    if request.kind and request.kind not in kinds:
        errors.append(f"convert {request.kind}: {known(request.kind, kinds)}")
    if not request.source.exists():
        errors.append(f"{request.source}: there is no such file")
    if request.out.suffix != ".safetensors":
        errors.append(f"--out {request.out}: allowed is a file whose name ends in .safetensors")
    elif request.out.exists() and request.source.exists() and request.out.samefile(request.source):
        errors.append(f"--out {request.out} is the file itself")
    if request.dtype is not None and request.dtype not in DTYPES:
        errors.append(f"--dtype is '{request.dtype}'. {known(request.dtype, DTYPES)}")
    errors += [f"--weights {role}: {known(role, FROZEN)}" for role in request.weights if role not in FROZEN]
    errors += [f"{path}: there is no such file" for path in request.weights.values() if not path.is_file()]
    if request.weights and not request.to_official:
        errors.append("--weights has no effect without --to official")
    if errors:
        raise UsageError(errors)


def card_of(source: Path) -> dict[str, str]:
    """What the header of a converted file says of where it is from."""
    return {"source": source.name, "source_sha256": sha256_file(source), "made": "python -m bench convert"}


def _open(request: Request) -> OfficialState | None:
    """The tensors of a DynamiCrafter or of a model that it starts from; None for a file of another kind."""
    from bench.metrics.state_files import is_archive
    from models.parents import layout_of
    from models.tensor_files import open_official

    if request.kind not in ("", DYNAMICRAFTER) or request.source.is_dir() or is_archive(request.source):
        return None
    state = open_official(request.source)
    if layout_of(state.shapes) != "unknown":
        return state
    if request.kind:
        raise ValueError(f"{request.source} is no checkpoint of DynamiCrafter nor of a model that it starts from")
    return None


def _write(
    request: Request, state: OfficialState, card: Mapping[str, str], say: Say, config: ModelConfig | None
) -> None:
    """A file of known layout, every entry that it has; raises ValueError when it does not fit `config`."""
    from bench.weight_files import describe, first_of
    from models.tensor_files import save_state

    found = describe(state, config)
    if found.problems:
        lines = "\n  ".join(first_of(found.problems))
        raise ValueError(f"{request.source} does not fit, {len(found.problems)} entries:\n  {lines}")
    for line in (*found.words, *state.notes):
        say(f"{request.source}: {line}")
    stored = checked(cast(state, request.dtype))
    save_state(stored, request.out, {"what": found.words[0], **card})
    kinds = {str(dtype).removeprefix("torch.") for dtype in stored.dtypes.values()}
    say(
        f"{request.out}: {len(stored.shapes)} entries, {' and '.join(sorted(kinds))}, sha256 {sha256_file(request.out)}"
    )


def cast(state: OfficialState, dtype: str | None) -> OfficialState:
    """The weights as `dtype`, the tables of the noise schedule as they are: half precision would move every step."""
    import torch

    from models.config import DiffusionConfig
    from models.schedule import Schedule, official_buffers

    if dtype is None:
        return state
    tables = {*official_buffers(Schedule(DiffusionConfig())), "scale_arr"}
    whole = {name for name, kind in state.dtypes.items() if not kind.is_floating_point}
    return state.cast(getattr(torch, dtype), keep=tables | whole)


def checked(state: OfficialState) -> OfficialState:
    """The same, but a value that is no number, or too large for its new type, raises ValueError when it is read."""
    from bench.weight_files import finite

    def get(name: str) -> Tensor:
        tensor = state.get(name)
        if not finite(tensor):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{name} holds values that are no numbers, or none as {kind} (its largest is 65504)")
        return tensor

    return replace(state, get=get)


def config_of(name: str) -> ModelConfig:
    """The model of a profile, by name or path, or of a released size. Raises UsageError when it is neither."""
    from bench.profile import load_profile, model_preset, profile_names
    from models.checkpoint import RELEASED

    size = name.replace("-", "_")
    if size in RELEASED and name not in profile_names():
        return RELEASED[size]()
    return model_preset(load_profile(name).model)


def export(request: Request, say: Say) -> None:
    """Our model with its autoencoder and encoders, as one checkpoint that the official code loads strictly.

    Raises ValueError when a file does not fit the profile's sizes, or the model has no official form.
    """
    from models.checkpoint import PART_NAMES, Modules, build_part, official_state, to_official
    from models.parents import open_parent
    from models.weights import load_state

    state = _own(request.source)
    config = exported(config_of(request.profile or "tiny"), state, request.source)
    parts: dict[str, Any] = {name: build_part(name, config) for name in PART_NAMES}
    load_state(parts["model"], state, str(request.source))
    files = {role: request.weights.get(role) or _of_profile(request.profile or "tiny", role) for role in FROZEN}
    load_state(parts["autoencoder"], open_parent(files["vae"], "vae", config).state, str(files["vae"]))
    clip = open_parent(files["clip"], "clip", config).state
    for encoder in (parts["text_encoder"], parts["image_encoder"]):
        load_state(encoder, encoder.weights_from(clip), str(files["clip"]))
    rest = {f"{prefix}.{name}": tensor for name, tensor in clip.items() for prefix in ("cond_stage_model", "embedder")}
    whole = official_state(to_official(Modules(**parts), official_state(rest)))
    card = card_of(request.source) | {f"{role}_sha256": sha256_file(path) for role, path in files.items()}
    _write(request, whole, card, say, config)


def exported(base: ModelConfig, state: Mapping[str, Tensor], path: Path) -> ModelConfig:
    """The profile's model with the streams that a file has. Raises ValueError for those without an official form."""
    if "projector.queries" not in state or "unet.conv_in.weight" not in state:
        raise ValueError(f"{path} has no context projector: the official layout has no model without one")
    channels = state["unet.conv_in.weight"].shape[1]
    if channels == base.unet.out_channels:
        raise ValueError(f"{path} is not shown the condition latent: the official layout has no such model")
    learned = any(name.endswith(".alpha") for name in state)
    return replace(base, unet=replace(base.unet, image_stream="learned" if learned else "fixed"))


def _own(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a model of ours."""
    from models.parents import OURS, layout_of
    from models.tensor_files import LazyState, open_official

    state = open_official(path)
    if layout_of(state.shapes) != OURS:
        raise ValueError(f"{path} is no model of this project: --to official takes a run's model.safetensors")
    return LazyState(state)


def _of_profile(name: str, role: str) -> Path:
    """The file that a profile has for a role. Raises UsageError when it has none."""
    from bench.profile import ROOT, load_profile, profile_names

    files = load_profile(name).weights if name in profile_names() or "/" in name else {}
    if role not in files:
        raise UsageError(f"--profile {name} brings no {role}: give --weights {role}=FILE")
    return ROOT / files[role]
