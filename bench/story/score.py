"""How far does a story leave its world at a cut? The score of bench/metrics/cuts.py for the frames of its shots.

Shapes: a shot's frames uint8 (T, H, W, 3). The network is CLIP's image half: the tiny world's, or a checkpoint's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.animate import Target
from bench.measure import clip_name
from bench.metrics.cuts import cut_consistencies, step_consistencies
from bench.metrics.extractors import exact, open_clip_pair
from bench.variants import config_to_json
from datasets.clip import Frames

BATCH = 16


@dataclass(frozen=True)
class Score:
    """cuts: the cosine across each; steps: its mean between neighbouring frames inside the shots."""

    network: str
    cuts: tuple[float, ...]
    steps: float

    @property
    def value(self) -> float:
        """The mean over the cuts; there must be one."""
        return float(np.mean(self.cuts))

    def to_json(self) -> dict[str, Any]:
        """As story.json has it."""
        value = round(self.value, 6) if self.cuts else None
        cuts = [round(cut, 6) for cut in self.cuts]
        return {"value": value, "cuts": cuts, "inside_the_shots": round(self.steps, 6), "network": self.network}


def score(shots: Iterable[Frames], towers: tuple[Path, Target] | None) -> Score | None:
    """The score of shots in their order; None without a network. Raises ValueError when its file does not fit."""
    if towers is None:
        return None
    path, target = towers
    name = clip_name(target.profile)
    with exact():
        pair = open_clip_pair(name, config_to_json(target.model.clip), path, BATCH, "cpu")
        seen = [pair.frames(frames[None])[0] for frames in shots]
    return Score(name, tuple(map(float, cut_consistencies(seen))), float(step_consistencies(seen).mean()))
