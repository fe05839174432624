"""How different do two images look, by the layers of a classifier (LPIPS)?

    d(a, b) = sum over layers of mean over places of w . (unit(features of a) - unit(features of b))^2

Shapes: images (B, H, W, 3) uint8, H and W 32 or more; distances (B,) float64, 0 for equal images. The classifier
(trunk) is torchvision's AlexNet, VGG16 or SqueezeNet 1.1, always from a local file; the weights w of the channels
(heads, a few kB) are here: `heads/lpips.safetensors`, from the package lpips 0.1.4 (its licence beside it).
Source: Zhang et al., arXiv:1801.03924. Version 0.1 normalises its input; 0.0, as first released, does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from bench.metrics.batches import Pixels, check_pairs, in_batches
from bench.metrics.state_files import check_fit, read_state, unfilled
from bench.metrics.statistics import Array
from models.weights import load_tensors

HEADS = Path(__file__).parent / "heads" / "lpips.safetensors"
LAYERS = {  # numbers of the ReLU (or Fire module) of torchvision's `features` after which a layer is compared
    "alex": (1, 4, 7, 9, 11),
    "vgg": (3, 8, 15, 22, 29),
    "squeeze": (1, 4, 7, 9, 10, 11, 12),
}
TRUNKS = {
    "alex": torchvision.models.alexnet,
    "vgg": torchvision.models.vgg16,
    "squeeze": torchvision.models.squeezenet1_1,
}
FILES = {  # as torchvision publishes them
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
VERSIONS = ("0.1", "0.0")
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of version 0.1, to images in [-1, 1]
SMALLEST = 32  # pixels: below, AlexNet's pools have nothing left
TINY = 1e-10  # keeps the unit vector of an all-zero place finite
MICRO_BATCH = 8


class Lpips(nn.Module):
    """LPIPS with one trunk. Empty until filled: use `load_lpips`."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str, version: str = "0.1", micro_batch: int = MICRO_BATCH) -> None:
        super().__init__()
        if net not in LAYERS or version not in VERSIONS:
            raise ValueError(
                f"LPIPS: net {net!r}, version {version!r}; known nets: {', '.join(LAYERS)}; versions: 0.1, 0.0"
            )
        self.net, self.version, self.micro_batch = net, version, micro_batch
        self.features = unfilled(lambda: TRUNKS[net](weights=None).features[: LAYERS[net][-1] + 1])
        heads = load_tensors(HEADS)
        self.heads = nn.ParameterList(heads[f"v{version}.{net}.{n}"] for n in range(len(LAYERS[net])))
        normalised = version == "0.1"
        self.register_buffer("shift", torch.tensor(SHIFT if normalised else (0.0,) * 3).view(3, 1, 1), False)
        self.register_buffer("scale", torch.tensor(SCALE if normalised else (1.0,) * 3).view(3, 1, 1), False)
        self.requires_grad_(False)

    def per_layer(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances (B, layers) of images (B, 3, H, W) in [-1, 1]; LPIPS is their sum."""
        x, y = ((images - self.shift) / self.scale for images in (a, b))
        distances: list[Tensor] = []
        for number, layer in enumerate(self.features.children()):
            x, y = layer(x), layer(y)
            if number in LAYERS[self.net]:
                difference = (_unit(x) - _unit(y)) ** 2
                distances.append(F.conv2d(difference, self.heads[len(distances)]).mean((1, 2, 3)))
        return torch.stack(distances, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # (B, 3, H, W) in [-1, 1], twice -> (B,)
        return self.per_layer(a, b).sum(1)

    def distance(self, a: Pixels, b: Pixels) -> Array:
        """LPIPS (B,) float64 of images (B, H, W, 3) uint8, pair by pair. Raises ValueError when they do not fit."""
        check_pairs(a, b, "LPIPS")
        if min(a.shape[1:3]) < SMALLEST:
            raise ValueError(f"LPIPS: images of {a.shape[1]}x{a.shape[2]}; wanted {SMALLEST}x{SMALLEST} or more")
        return in_batches(lambda x, y: self(self.as_input(x), self.as_input(y)), self.micro_batch, a, b)

    def as_input(self, images: Pixels) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) in [-1, 1], on the network's device and of its kind."""
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return pixels.to(self.shift.device).to(self.shift.dtype) / 127.5 - 1.0


def _unit(features: Tensor) -> Tensor:
    """Channels (B, C, H, W) as unit vectors at each place."""
    return features / ((features**2).sum(1, keepdim=True).sqrt() + TINY)


def fill_lpips(model: Lpips, state: Mapping[str, Tensor], source: str) -> None:
    """Fills the trunk from torchvision's state dict; the classifier after it is not needed.

    Raises ValueError with every entry that is missing, not understood, of another shape or not finite.
    """
    used = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    own = {f"features.{name}": tensor for name, tensor in model.features.state_dict().items()}
    check_fit(used, {name: tuple(t.shape) for name, t in own.items()}, f"{source} (read as the trunk {model.net!r})")
    for name, tensor in own.items():
        tensor.copy_(used[name])


def load_lpips(trunk: Path, net: str = "alex", version: str = "0.1") -> Lpips:
    """LPIPS in evaluation mode, its trunk from torchvision's file (FILES) or a safetensors copy of it.

    Raises ValueError for an unknown net or version, and when the file is missing, is not tensors alone or does not fit.
    """
    model = Lpips(net, version)
    if not trunk.is_file():
        raise ValueError(
            f"LPIPS: {trunk} is not a file; the trunk {net!r} is torchvision's {FILES[net]}, from "
            f"https://download.pytorch.org/models/{FILES[net]} (nothing is downloaded here)"
        )
    fill_lpips(model, read_state(trunk), str(trunk))
    return model.eval()
