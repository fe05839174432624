"""Which features belong to which video? A set of scored clips, as the `features` step leaves it on disk.

Files of the artifact: features.safetensors {features (N, D), conformity (N, T), and any of EXTRAS (N,), float64} and
items.json [{id, group, ...}] in the same order; motions.json [the motion seen in each clip] where the tiny world's
classifier looked. Standard library, numpy and safetensors only: scoring imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from bench.metrics import asked
from bench.metrics.statistics import Array, as_features

ENDS = ("end_conformity", "loop_closure", "step_distance")  # of bench/metrics/ends.py, where a variant has a task
# a number per video, measured beside features and conformity
EXTRAS = ("motion", "consistency", "alignment", "motion_as_asked", *ENDS)


@dataclass(frozen=True)
class Sample:
    """Clips of one system (or real ones), seen by the measuring networks.

    Args:
        features: (N, D) of the video network, float64.
        conformity: (N, T), one minus the distance between the input image and each frame; (N, 0): unknown.
        ids: video of each clip. Clips of one video, and a generated clip and the real one it was conditioned
            on, carry the same id: that is how they are paired.
        groups: videos that were filmed together (UCF-101's g01..g25 of a class); None: a group of its own.
        extras: (N,) of each of EXTRAS that was measured.

    Raises ValueError when the lengths differ or a value is not finite.
    """

    features: Array
    conformity: Array
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    extras: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", as_features(self.features, "Sample.features"))
        object.__setattr__(self, "conformity", as_features(self.conformity, "Sample.conformity"))
        lengths = {len(self.features), len(self.conformity), len(self.ids), len(self.groups)}
        if len(lengths) > 1:
            raise ValueError(
                f"Sample: {len(self.features)} features, {len(self.conformity)} conformities, "
                f"{len(self.ids)} ids and {len(self.groups)} groups; wanted as many of each"
            )
        object.__setattr__(self, "extras", {name: self._extra(name) for name in self.extras})

    def _extra(self, name: str) -> Array:
        values = np.asarray(self.extras[name], dtype=np.float64)
        if name not in EXTRAS or values.shape != (len(self),):
            raise ValueError(f"Sample: {name} {values.shape}; known: {', '.join(EXTRAS)}, ({len(self)},) each")
        return as_features(values[:, None], f"Sample.{name}")[:, 0]

    def __len__(self) -> int:
        return len(self.ids)

    def has(self, metric: str) -> bool:
        """Whether what a metric needs of each video was measured."""
        if metric == "pic":
            return self.conformity.shape[1] > 0
        return metric in self.extras or metric not in EXTRAS

    def take(self, rows: NDArray[np.intp]) -> Sample:
        """Some of the clips, by their places."""
        return Sample(
            self.features[rows],
            self.conformity[rows],
            tuple(self.ids[row] for row in rows),
            tuple(self.groups[row] for row in rows),
            {name: values[rows] for name, values in self.extras.items()},
        )

    def by_name(self) -> Sample:
        """The same clips in an order that depends on their ids alone, and is as good as random."""
        keys = [hashlib.sha256(name.encode()).digest() for name in self.ids]
        return self.take(np.array(sorted(range(len(self)), key=keys.__getitem__), dtype=np.intp))

    @property
    def units(self) -> tuple[str, ...]:
        """What is resampled as a whole, per clip: its group, or its video."""
        pairs = zip(self.ids, self.groups, strict=True)
        return tuple(f"video {video}" if group is None else f"group {group}" for video, group in pairs)


def read_sample(folder: Path) -> Sample:
    """The features artifact in `folder`. Raises ValueError naming the folder when it holds something else."""
    arrays = load_file(folder / "features.safetensors")
    items = json.loads((folder / "items.json").read_text(encoding="utf-8"))
    if set(arrays) - set(EXTRAS) != {"features", "conformity"}:
        wanted = f"features, conformity and any of {', '.join(EXTRAS)}"
        raise ValueError(f"{folder}: tensors {', '.join(sorted(arrays))}; wanted {wanted}")
    twice = [name for name, count in Counter(str(item["id"]) for item in items).items() if count > 1]
    if twice:
        raise ValueError(f"{folder}: {len(twice)} ids come more than once, as {twice[0]!r}: clips are paired by id")
    extras = {name: arrays[name] for name in EXTRAS if name in arrays}
    try:
        followed = _as_asked(folder, items)
        extras |= {} if followed is None else {"motion_as_asked": followed}
        return Sample(
            features=arrays["features"],
            conformity=arrays["conformity"],
            ids=tuple(str(item["id"]) for item in items),
            groups=tuple(None if item.get("group") is None else str(item["group"]) for item in items),
            extras=extras,
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def _as_asked(folder: Path, items: list[dict[str, Any]]) -> Array | None:
    """Whether each clip moves as its prompt asks, from the motions that the tiny world's classifier saw, if it did."""
    path = folder / "motions.json"
    if not path.is_file():
        return None
    return asked.per_video(json.loads(path.read_text(encoding="utf-8")), [item.get("prompt") for item in items])


def write_sample(folder: Path, sample: Sample) -> None:
    """Writes the two files of `read_sample`."""
    arrays = {"features": sample.features, "conformity": sample.conformity, **sample.extras}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "features.safetensors")
    items = [{"id": i, "group": g} for i, g in zip(sample.ids, sample.groups, strict=True)]
    (folder / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1), encoding="utf-8")
