"""Which features belong to which video? A set of scored clips, as the `features` step leaves it on disk.

Files of the artifact: features.safetensors {features (N, D), conformity (N, T), float64} and items.json
[{id, group, ...}] in the same order. Standard library, numpy and safetensors only: scoring imports no torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from bench.metrics.statistics import Array, as_features


@dataclass(frozen=True)
class Sample:
    """Clips of one system (or real ones), seen by the measuring networks.

    Args:
        features: (N, D) of the video network, float64.
        conformity: (N, T), one minus the distance between the input image and each frame; (N, 0): unknown.
        ids: video of each clip. Clips of one video, and a generated clip and the real one it was conditioned
            on, carry the same id: that is how they are paired.
        groups: videos that were filmed together (UCF-101's g01..g25 of a class); None: a group of its own.

    Raises ValueError when the lengths differ or a value is not finite.
    """

    features: Array
    conformity: Array
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", as_features(self.features, "Sample.features"))
        object.__setattr__(self, "conformity", as_features(self.conformity, "Sample.conformity"))
        lengths = {len(self.features), len(self.conformity), len(self.ids), len(self.groups)}
        if len(lengths) > 1:
            raise ValueError(
                f"Sample: {len(self.features)} features, {len(self.conformity)} conformities, "
                f"{len(self.ids)} ids and {len(self.groups)} groups; wanted as many of each"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def units(self) -> tuple[str, ...]:
        """What is resampled as a whole, per clip: its group, or its video."""
        pairs = zip(self.ids, self.groups, strict=True)
        return tuple(f"video {video}" if group is None else f"group {group}" for video, group in pairs)


def read_sample(folder: Path) -> Sample:
    """The features artifact in `folder`. Raises ValueError naming the folder when it holds something else."""
    arrays = load_file(folder / "features.safetensors")
    items = json.loads((folder / "items.json").read_text(encoding="utf-8"))
    if set(arrays) != {"features", "conformity"}:
        raise ValueError(f"{folder}: tensors {', '.join(sorted(arrays))}; wanted features and conformity")
    try:
        return Sample(
            features=arrays["features"],
            conformity=arrays["conformity"],
            ids=tuple(str(item["id"]) for item in items),
            groups=tuple(None if item.get("group") is None else str(item["group"]) for item in items),
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def write_sample(folder: Path, sample: Sample) -> None:
    """Writes the two files of `read_sample`."""
    arrays = {"features": sample.features, "conformity": sample.conformity}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "features.safetensors")
    items = [{"id": i, "group": g} for i, g in zip(sample.ids, sample.groups, strict=True)]
    (folder / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1), encoding="utf-8")
