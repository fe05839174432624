"""Which tensors are in a file that came from outside? Mapped, not read, and nothing in it is ever run.

Understood: safetensors, and the zip files of `torch.save` (.ckpt, .pt, .bin), whose state dict is the file itself, or
is under "state_dict" (Lightning), or under "module" (deepspeed, names behind a prefix). Training scripts save more
beside the weights: objects of the packages in INERT become empty placeholders without a line of those packages being
run; a file that names anything else is refused.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.weights import write_whole

GROUP = 128 << 20  # bytes given out before a file is mapped anew: what has been read of a mapping counts as memory
INERT = (  # whose objects lie in checkpoints beside the weights; replaced, never imported
    *("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.", "deepspeed.", "lvdm.", "ldm."),
    *("numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.", "numpy._core.multiarray.", "numpy.dtypes."),
    *("argparse.Namespace", "collections.defaultdict", "collections.Counter", "typing.Any", "datetime."),
    *("builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.bytes", "builtins.complex"),
    *("builtins.dict", "builtins.list", "builtins.tuple", "builtins.set", "pathlib.Posix", "pathlib.Pure"),
    *("pathlib.Path", "pathlib._local.", "pathlib.Windows", "_codecs.encode"),
)
MODULE_PREFIXES = ("_forward_module.", "module.")  # deepspeed's and the parallel wrapper's
DEEPSPEED_PREFIX = 16  # characters that the official loader drops before each name, whatever they are
SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class OfficialState:
    """Tensors under official names; shapes and types are known at once, a tensor is read when it is asked for.

    `notes`: what of the file is not here, or is under another name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    get: Callable[[str], Tensor]
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def part(self, prefix: str) -> OfficialState:
        """The entries whose names start with `prefix`, without it."""
        short = {name.removeprefix(prefix): name for name in self.shapes if name.startswith(prefix)}
        return self.renamed(short)

    def without(self, names: Collection[str]) -> OfficialState:
        """The entries that `names` does not list."""
        return self.renamed({name: name for name in self.shapes if name not in names})

    def cast(self, dtype: torch.dtype, keep: Collection[str] = ()) -> OfficialState:
        """The same entries as `dtype`, but for those that `keep` names."""
        dtypes = {name: self.dtypes[name] if name in keep else dtype for name in self.shapes}
        return OfficialState(self.shapes, lambda name: self.get(name).to(dtypes[name]), dtypes, self.notes)

    def renamed(self, names: Mapping[str, str]) -> OfficialState:
        """The entries that `names` lists, {new name: name here}; the others are left out."""
        shapes = {new: self.shapes[old] for new, old in names.items()}
        dtypes = {new: self.dtypes[old] for new, old in names.items() if old in self.dtypes}
        return OfficialState(shapes, lambda new: self.get(names[new]), dtypes)


class LazyState(Mapping[str, Tensor]):
    """A state dict whose tensors are read when they are asked for; `shapes` gives some another one, as many values."""

    def __init__(self, state: OfficialState, shapes: Mapping[str, tuple[int, ...]] | None = None) -> None:
        self.state, self.shapes = state, shapes or {}

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.state.get(name)
        return tensor.reshape(self.shapes[name]) if name in self.shapes else tensor

    def __contains__(self, name: object) -> bool:
        return name in self.state.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.state.shapes)

    def __len__(self) -> int:
        return len(self.state.shapes)


def official_state(state: Mapping[str, Tensor]) -> OfficialState:
    """A state dict in memory; see `standard_names` for the names that are understood."""
    names = standard_names(state)
    return OfficialState(
        {n: tuple(state[k].shape) for n, k in names.items()},
        lambda n: state[names[n]],
        {n: state[k].dtype for n, k in names.items()},
        _renamed(names),
    )


def open_official(path: Path) -> OfficialState:
    """The tensors of a file by their standard names.

    Raises ValueError when there is no such file, when it cannot be read as tensors alone, or has no state dict.
    """
    return _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path)


def standard_names(stored: Iterable[str]) -> dict[str, str]:
    """{standard name: stored name}: early 256 checkpoints say `framestride_embed` for `fps_embedding`.

    Raises ValueError when an entry is there under both.
    """
    stored = list(stored)
    names = {name.replace("framestride_embed.", "fps_embedding."): name for name in stored}
    if len(names) < len(stored):
        raise ValueError("weights: an entry is there twice, as framestride_embed and as fps_embedding")
    return names


def _renamed(names: Mapping[str, str]) -> tuple[str, ...]:
    """A note where entries have early names."""
    count = sum(new != stored for new, stored in names.items())
    return (f"{count} entries called framestride_embed are fps_embedding now",) if count else ()


class Mapped:
    """Tensors of a file, which is mapped anew now and then so that what nobody holds any longer is given back.

    Raises ValueError when the file was changed meanwhile: parts of two files are no model.
    """

    def __init__(self, path: Path, open_file: Callable[[Path], Callable[[str], Tensor]]) -> None:
        self.path, self.open_file = path, open_file
        self.stamp = self._stamp()
        self.read = open_file(path)
        self.given = 0

    def _stamp(self) -> tuple[int, int]:
        stat = self.path.stat()
        return stat.st_size, stat.st_mtime_ns

    def get(self, name: str) -> Tensor:
        """The tensor stored under `name`; a view of the file, to be copied from."""
        if self.given > GROUP:
            if self._stamp() != self.stamp:
                raise ValueError(f"weights: {self.path} was changed while it was being read")
            self.read, self.given = self.open_file(self.path), 0
        tensor = self.read(name)
        self.given += tensor.nbytes
        return tensor


def _open_safetensors(path: Path) -> OfficialState:
    try:
        with safe_open(str(path), "pt") as file:
            slices = {stored: file.get_slice(stored) for stored in file.keys()}  # noqa: SIM118
            shapes = {stored: tuple(piece.get_shape()) for stored, piece in slices.items()}
            types = {stored: str(piece.get_dtype()) for stored, piece in slices.items()}
        mapped = Mapped(path, lambda p: safe_open(str(p), "pt").get_tensor)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights: {path} is not a readable safetensors file ({error})") from error
    names = standard_names(shapes)
    return OfficialState(
        {name: shapes[stored] for name, stored in names.items()},
        lambda name: mapped.get(names[name]),
        {name: SAFETENSORS_TYPES[types[k]] for name, k in names.items() if types[k] in SAFETENSORS_TYPES},
        _renamed(names),
    )


def _open_pickle(path: Path) -> OfficialState:
    state, notes = _state_dict(path)
    names = standard_names(state)
    shapes = {name: tuple(state[stored].shape) for name, stored in names.items()}
    dtypes = {name: state[stored].dtype for name, stored in names.items()}
    first = [state]  # the mapping that told the shapes is the first to be read from

    def reader(p: Path) -> Callable[[str], Tensor]:
        tensors = first.pop() if first else _state_dict(p)[0]
        return tensors.__getitem__

    mapped = Mapped(path, reader)
    del state
    return OfficialState(shapes, lambda name: mapped.get(names[name]), dtypes, (*notes, *_renamed(names)))


def _state_dict(path: Path) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """The state dict of a pickled file, its tensors mapped where the file's format allows it, and notes about it."""
    try:
        content = _load(path)
    except Exception as error:  # on bytes that are no tensors, torch's reader raises whatever it stumbles over
        raise ValueError(not_tensors(path, error)) from error
    state, notes = unwrap(content)
    if not state or not all(isinstance(k, str) and isinstance(x, Tensor) for k, x in state.items()):
        raise ValueError(f"weights: {path} is not a state dict, nor has one under 'state_dict' or 'module'")
    return state, notes


def not_tensors(path: Path, error: Exception) -> str:
    """What to tell of a file that torch's `weights_only` reader gave up on, without torch's advice to trust it."""
    told = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    reason = (told.splitlines() or ["no reason given"])[0]
    return (
        f"weights: {path} cannot be read as tensors alone ({type(error).__name__}: {reason}); "
        "a file that needs its own code to be read is never run: save its state dict as safetensors"
    )


def _load(path: Path) -> Any:
    """The file's content: containers, numbers, words and tensors; placeholders for what INERT names."""
    if not zipfile.is_zipfile(path):  # torch before 1.6: cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True)
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    strange = sorted(name for name in names if not name.startswith(INERT))
    if strange:
        raise pickle.UnpicklingError(f"it asks for {', '.join(strange[:5])}")
    inert: list[Any] = [
        (_empty if name == "collections.defaultdict" else type("Inert", (Inert,), {}), name) for name in names
    ]
    with torch.serialization.safe_globals(inert):
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)


class Inert:
    """Stands for an object that is not wanted: takes whatever a file says of it, does nothing with it."""

    def __new__(cls, *args: object, **kwargs: object) -> Inert:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Nothing is kept."""

    def __setstate__(self, state: object) -> None:
        """Nothing is kept."""


def _empty(*args: object) -> dict[object, object]:
    """Stands for a container that fills itself; torch's reader puts items into plain ones only."""
    return {}


def unwrap(content: object) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """The state dict in what a file holds, {} where there is none; and what lies beside it."""
    if not isinstance(content, Mapping):
        return {}, ()
    where = next((name for name in ("state_dict", "module") if isinstance(content.get(name), Mapping)), None)
    if where is None:
        return content, ()
    state, beside = content[where], [str(name) for name in content if name != where]
    notes = [f"left out, as it is no weights: {', '.join(beside)}"] if beside else []
    cut = _prefix(state) if where == "module" else 0
    if cut:
        notes.append(f"'{next(iter(state))[:cut]}' is dropped before every name")
    return {str(name)[cut:]: tensor for name, tensor in state.items()}, tuple(notes)


def _prefix(names: Iterable[object]) -> int:
    """How many characters before each name of a deepspeed file are no part of it."""
    texts = [str(name) for name in names]
    known = [prefix for prefix in MODULE_PREFIXES if all(text.startswith(prefix) for text in texts)]
    if known and texts:
        return len(known[0])
    same = len({text[:DEEPSPEED_PREFIX] for text in texts}) == 1 and len(texts) > 1
    return DEEPSPEED_PREFIX if same else 0


def save_state(state: OfficialState, path: Path, card: Mapping[str, str]) -> None:
    """Writes a safetensors file tensor by tensor; it appears whole or not at all.

    Holds one tensor at a time. The layout is that of the library: large types first, so that all are aligned.
    Raises ValueError for a tensor whose type or shape is not what the state said.
    """
    order = sorted(state.shapes, key=lambda name: (-state.dtypes[name].itemsize, name))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(_header(state, order, card))
            for name in order:
                tensor = state.get(name).detach().cpu().contiguous()
                if tensor.dtype != state.dtypes[name] or tuple(tensor.shape) != state.shapes[name]:
                    raise ValueError(f"weights: {name} is {tensor.dtype} {tuple(tensor.shape)}, not as announced")
                file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)

    write_whole(path, write)


def _header(state: OfficialState, order: Iterable[str], card: Mapping[str, str]) -> bytes:
    """The length, and where each tensor lies."""
    words = {dtype: word for word, dtype in SAFETENSORS_TYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted(card.items()))} if card else {}
    end = 0
    for name in order:
        begin, dtype = end, state.dtypes[name]
        end += prod(state.shapes[name]) * dtype.itemsize
        header[name] = {"dtype": words[dtype], "shape": list(state.shapes[name]), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text
