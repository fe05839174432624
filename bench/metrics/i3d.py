"""What does I3D, trained on Kinetics-400, say of a clip? The network behind published FVD, loaded from a local file.

Shapes: clips (B, 3, T, 224, 224) float32, in [-1, 1]; T 9 or more; T' = 1 for T up to 16, then one more per 8 frames.
The features of FVD are the 400 logits (no softmax), averaged over T'.
Source: Carreira and Zisserman, arXiv:1705.07750, inflated Inception-v1; TensorFlow's 'SAME' padding along all three
axes, batch norm with eps 1e-3 (TensorFlow and most ports; in some 1e-5). Two public layouts, piergiaj's (also of the
`i3d_pretrained_400.pt` of VideoGPT, TATS, LVDM, cd-fvd) and hassony2's, are this network under two sets of names:
`keys/i3d.tsv.gz`, a row per entry.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.metrics.state_files import check_fit, read_archive, read_state, unfilled

SIZE = 224  # pixels; on others the average pool leaves a map, and the two public layouts disagree
SHORTEST = 9  # frames
CLASSES = 400
EPS = 1e-3
LAYOUTS = ("piergiaj", "hassony2")
KEYS = Path(__file__).parent / "keys" / "i3d.tsv.gz"
COUNTER = ".num_batches_tracked"  # not read in evaluation; files of the first PyTorch versions have none

Size3 = tuple[int, int, int]
MIXED = {  # endpoint: input channels, then of 1x1x1; 1x1x1 -> 3x3x3; 1x1x1 -> 3x3x3; pool -> 1x1x1
    "Mixed_3b": (192, 64, (96, 128), (16, 32), 32),
    "Mixed_3c": (256, 128, (128, 192), (32, 96), 64),
    "Mixed_4b": (480, 192, (96, 208), (16, 48), 64),
    "Mixed_4c": (512, 160, (112, 224), (24, 64), 64),
    "Mixed_4d": (512, 128, (128, 256), (24, 64), 64),
    "Mixed_4e": (512, 112, (144, 288), (32, 64), 64),
    "Mixed_4f": (528, 256, (160, 320), (32, 128), 128),
    "Mixed_5b": (832, 256, (160, 320), (32, 128), 128),
    "Mixed_5c": (832, 384, (192, 384), (48, 128), 128),
}


def pad_same(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """Zeros around (..., T, H, W) so that ceil(size / stride) outputs come; what is odd goes behind."""
    amounts: list[int] = []
    for size, k, s in zip(x.shape[-3:], kernel, stride, strict=True):
        total = max(k - (size % s or s), 0)
        amounts = [total // 2, total - total // 2, *amounts]  # F.pad counts axes from the last
    return F.pad(x, amounts) if any(amounts) else x


class Unit3D(nn.Module):
    """Convolution ('SAME'), batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, eps: float) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=eps)

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, T, H, W) -> (B, outputs, T / stride, ...)
        return F.relu(self.bn(self.conv3d(pad_same(x, self.kernel, self.stride))))


class MaxPool(nn.Module):
    """Largest value of each window ('SAME'; zeros at the border change nothing after a ReLU)."""

    def __init__(self, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


class Mixed(nn.Module):
    """Four views of the same input, side by side."""

    def __init__(self, inputs: int, b0: int, b1: tuple[int, int], b2: tuple[int, int], b3: int, eps: float) -> None:
        super().__init__()
        self.b0 = Unit3D(inputs, b0, 1, 1, eps)
        self.b1a, self.b1b = Unit3D(inputs, b1[0], 1, 1, eps), Unit3D(*b1, 3, 1, eps)
        self.b2a, self.b2b = Unit3D(inputs, b2[0], 1, 1, eps), Unit3D(*b2, 3, 1, eps)
        self.b3a, self.b3b = MaxPool((3, 3, 3), (1, 1, 1)), Unit3D(inputs, b3, 1, 1, eps)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], 1)


def layers(eps: float) -> Iterator[tuple[str, nn.Module]]:
    """Endpoints in the order of the network, under their TensorFlow names."""
    yield "Conv3d_1a_7x7", Unit3D(3, 64, 7, 2, eps)
    yield "MaxPool3d_2a_3x3", MaxPool((1, 3, 3), (1, 2, 2))
    yield "Conv3d_2b_1x1", Unit3D(64, 64, 1, 1, eps)
    yield "Conv3d_2c_3x3", Unit3D(64, 192, 3, 1, eps)
    yield "MaxPool3d_3a_3x3", MaxPool((1, 3, 3), (1, 2, 2))
    for name, widths in MIXED.items():
        if name == "Mixed_4b":
            yield "MaxPool3d_4a_3x3", MaxPool((3, 3, 3), (2, 2, 2))
        if name == "Mixed_5b":
            yield "MaxPool3d_5a_2x2", MaxPool((2, 2, 2), (2, 2, 2))
        yield name, Mixed(*widths, eps)


class I3D(nn.Module):
    """Inflated Inception-v1 with 400 classes; `load_i3d` fills it. Every method raises ValueError for wrong sizes."""

    def __init__(self, eps: float = EPS) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict(dict(layers(eps)))
        self.classes = nn.Conv3d(1024, CLASSES, 1)

    def endpoints(self, clips: Tensor) -> Iterator[tuple[str, Tensor]]:
        """(B, 3, T, 224, 224) in [-1, 1] -> name and output of each layer before the average pool."""
        check_clips(clips)
        x = clips
        for name, layer in self.trunk.items():
            x = layer(x)
            yield name, x

    def features(self, clips: Tensor) -> Tensor:
        """(B, 3, T, 224, 224) in [-1, 1] -> (B, 1024, T'), pooled over space and pairs of time steps."""
        *_, (_, x) = self.endpoints(clips)
        return F.avg_pool3d(x, (2, 7, 7), stride=1).flatten(2)

    def logits_of(self, features: Tensor) -> Tensor:
        """(B, 1024, T') of `features` -> (B, 400, T')."""
        return self.classes(features[..., None, None]).flatten(2)

    def logits(self, clips: Tensor) -> Tensor:
        """(B, 3, T, 224, 224) in [-1, 1] -> (B, 400, T'), before the softmax."""
        return self.logits_of(self.features(clips))

    def forward(self, clips: Tensor) -> Tensor:  # (B, 3, T, 224, 224) in [-1, 1] -> (B, 400)
        return self.logits(clips).mean(2)


def check_clips(clips: Tensor) -> None:
    """Raises ValueError unless clips are (B, 3, T, 224, 224) floats with T of 9 or more."""
    shape = tuple(clips.shape)
    if clips.ndim != 5 or shape[1] != 3 or not clips.is_floating_point():
        raise ValueError(f"I3D: clips {shape} {clips.dtype}; wanted (B, 3, T, {SIZE}, {SIZE}) float, in [-1, 1]")
    if shape[3:] != (SIZE, SIZE):
        raise ValueError(
            f"I3D: frames of {shape[3]}x{shape[4]}; wanted {SIZE}x{SIZE}: preprocess the clips to that size first "
            "(on another one the network returns a map, and public versions disagree)"
        )
    if shape[2] < SHORTEST:
        raise ValueError(f"I3D: clips of {shape[2]} frames; wanted {SHORTEST} or more (16 is usual)")


# ---- files ----


@lru_cache(maxsize=1)
def entries() -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """{our name: (its name in each of LAYOUTS, shape)} of all 344 entries."""
    with gzip.open(KEYS, "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    return {_own(row[0]): (tuple(row[:2]), tuple(int(n) for n in row[3].split("x") if n != "scalar")) for row in rows}


def _own(piergiaj: str) -> str:
    """Our name of an entry of the piergiaj layout."""
    return piergiaj.replace("logits.conv3d.", "classes.") if piergiaj.startswith("logits.") else f"trunk.{piergiaj}"


def key_list(layout: str) -> dict[str, tuple[int, ...]]:
    """{entry: shape} of a public layout. Raises ValueError for an unknown one."""
    if layout not in LAYOUTS:
        raise ValueError(f"I3D: layout is {layout!r}; known: {', '.join(LAYOUTS)}")
    return {names[LAYOUTS.index(layout)]: shape for names, shape in entries().values()}


def layout_of(state: Mapping[str, Tensor]) -> str:
    """The layout with which a state dict has most names in common; the first when it has none."""
    return max(LAYOUTS, key=lambda layout: len(key_list(layout).keys() & state.keys()))


def fill_i3d(net: I3D, state: Mapping[str, Tensor], source: str) -> str:
    """Fills `net` in place from a state dict of either layout, and returns which it is; `source` names it in errors.

    Batch norm's counters may all be absent, as in files of the first PyTorch versions; nothing reads them.
    Raises ValueError, and changes nothing, with every entry that is missing, left over, of another shape or not finite.
    """
    layout = layout_of(state)
    wanted = key_list(layout)
    if not any(name.endswith(COUNTER) for name in state):
        wanted = {name: shape for name, shape in wanted.items() if not name.endswith(COUNTER)}
    check_fit(state, wanted, f"{source} (read as I3D, {layout} layout)")
    own = net.state_dict()
    for name, (public, _) in entries().items():
        if public[LAYOUTS.index(layout)] in state:
            own[name].copy_(state[public[LAYOUTS.index(layout)]])
    return layout


def empty_i3d(eps: float = EPS) -> I3D:
    """A network in evaluation mode that waits for its weights."""
    return unfilled(lambda: I3D(eps))


def load_i3d(path: Path, eps: float = EPS) -> I3D:
    """I3D in evaluation mode from a .pt, .pth or .safetensors file in either layout.

    eps is that of the batch norms: 1e-3 in TensorFlow, in some public FVD code 1e-5; the file does not say.
    Raises ValueError for a TorchScript archive (with the command that converts it), a file that is not tensors alone,
    and as `fill_i3d`.
    """
    net = empty_i3d(eps)
    fill_i3d(net, read_state(path), str(path))
    return net


def read_trusted_archive(path: Path) -> dict[str, Tensor]:
    """The weights in a TorchScript archive of I3D, under their public names, as `load_i3d` wants them.

    THIS RUNS CODE FROM THE FILE: only for `convert`, and only when the user asked for it. What stands before the public
    names is taken off. Raises ValueError when the file is no archive, or as `fill_i3d`.
    """
    state = _without_prefix(read_archive(path))
    fill_i3d(empty_i3d(), state, str(path))
    return state


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without a prefix that all names share: an archive may hold I3D inside another module."""
    names = {name for layout in LAYOUTS for name in key_list(layout)}
    for name in state:
        parts = name.split(".")
        for start in range(1, len(parts)):
            prefix = ".".join(parts[:start]) + "."
            if name.removeprefix(prefix) in names and all(other.startswith(prefix) for other in state):
                return {other.removeprefix(prefix): tensor for other, tensor in state.items()}
    return dict(state)
