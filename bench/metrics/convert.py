"""Which measuring network is in a file, is it whole, and how does it become one safetensors file?

Understood: I3D in either public layout (state dict, or a TorchScript archive that the user trusts), torchvision's
AlexNet, VGG16 and SqueezeNet as trunks of LPIPS, and the checkpoint folder of DreamSim. A file is known by the names
of its tensors; nothing in it is run, unless it is an archive and the user said so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from bench.errors import UsageError
from bench.fingerprint import sha256_file
from bench.metrics import dreamsim, i3d, lpips
from bench.metrics.state_files import is_archive, read_state
from models.weights import save_tensors

KINDS = ("i3d", "lpips", "dreamsim")
LARGEST = 2 << 30  # bytes; a larger file is none of these, and is not read


class Wish(Protocol):
    """What a user asked for: `kind` is one of KINDS, or empty where the file shall say."""

    @property
    def source(self) -> Path: ...
    @property
    def out(self) -> Path: ...
    @property
    def kind(self) -> str: ...
    @property
    def trust(self) -> bool: ...


@dataclass(frozen=True)
class Measuring:
    """A measuring network as found: `kind` of KINDS, the words to show, and its tensors as they will be written."""

    kind: str
    words: str
    state: Mapping[str, Tensor]


def convert_measuring(request: Wish, say: Callable[[str], None]) -> bool:
    """Writes `request.out` when `request.source` is a measuring network; False when it is something else.

    Raises UsageError for an archive without `trust`, and for a network that is not whole.
    """
    if request.kind not in ("", *KINDS):
        return False
    try:
        found = open_trusted(request.source) if request.trust else recognise(request.source)
    except ValueError as error:
        raise UsageError(f"convert: {error}") from error
    if found is None:
        if request.kind:
            raise UsageError(f"convert {request.kind}: {request.source} is none")
        return False
    if request.kind not in ("", found.kind):
        raise UsageError(f"convert {request.kind}: {request.source} is {found.words}")
    if request.out.suffix != ".safetensors":
        raise UsageError(f"convert: --out is {request.out}; wanted a name that ends in .safetensors")
    if is_archive(request.source):
        say(f"{request.source}: opened as a TorchScript archive, which ran its code, as --trust allows")
    digest = save_tensors(found.state, request.out, card_of(request.source, found))
    say(f"{request.out}: {found.words}, {len(found.state)} entries, sha256 {digest}")
    return True


def card_of(source: Path, found: Measuring) -> dict[str, str]:
    """What the header of a converted file says of it."""
    card = {"what": found.words, "source": source.name, "made": "python -m bench convert"}
    return card | ({"source_sha256": sha256_file(source)} if source.is_file() else {})


def describe_measuring(path: Path) -> list[str] | None:
    """A line on the measuring network in a file or folder; None when it is something else.

    Raises ValueError when it is one, but not whole, or an archive, which is not opened.
    """
    found = recognise(path)
    return None if found is None else [f"{found.words}, {len(found.state)} entries, every one fits"]


def recognise(path: Path) -> Measuring | None:
    """The measuring network in a file or folder, opened without running anything; None when it is something else.

    Raises ValueError when it is one, but not whole, or a TorchScript archive.
    """
    if path.is_dir():
        return _dreamsim(path) if (path / dreamsim.ADAPTER).is_dir() else None
    if is_archive(path):
        read_state(path)  # says how to convert it
    if not path.is_file() or path.stat().st_size > LARGEST:
        return None
    return measuring_of(read_state(path), path)


def measuring_of(state: Mapping[str, Tensor], path: Path) -> Measuring | None:
    """The measuring network with the tensors `state`, checked; None when it is something else."""
    if any(name.startswith("branches.") for name in state):
        return _dreamsim(path)
    if any(name.startswith("features.") for name in state):
        return _trunk(state, path)
    if any(state.keys() & i3d.key_list(layout).keys() for layout in i3d.LAYOUTS):
        return _i3d(state, path)
    return None


def open_trusted(path: Path) -> Measuring | None:
    """As `recognise`, but a TorchScript archive is opened, WHICH RUNS ITS CODE: only when the user asked for it."""
    return _i3d(i3d.read_trusted_archive(path), path) if is_archive(path) else recognise(path)


def _i3d(state: Mapping[str, Tensor], path: Path) -> Measuring:
    layout = i3d.fill_i3d(i3d.empty_i3d(), state, str(path))
    return Measuring("i3d", f"I3D, {layout} layout", state)


def _trunk(state: Mapping[str, Tensor], path: Path) -> Measuring | None:
    """A trunk of LPIPS: the net whose layers it has; None for the features of something else."""
    for net in lpips.LAYERS:
        model = lpips.Lpips(net)
        own = {f"features.{name}": tuple(t.shape) for name, t in model.features.state_dict().items()}
        if all(name in state and tuple(state[name].shape) == shape for name, shape in own.items()):
            lpips.fill_lpips(model, state, str(path))
            return Measuring("lpips", f"LPIPS trunk {net}", {name: state[name] for name in own})
    return None


def _dreamsim(path: Path) -> Measuring:
    return Measuring("dreamsim", "DreamSim ensemble, LoRA merged", dreamsim.load_dreamsim(path).state_dict())
