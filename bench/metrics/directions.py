"""What can a claim be about? Every metric that may be claimed of, its unit, and which end of it is better."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """lower_is_better None: no value is better than another, so a claim says which is larger."""

    unit: str
    lower_is_better: bool | None


MEASURES: dict[str, Measure] = {
    "fvd": Measure("FVD", True),
    "kvd": Measure("KVD", True),
    "pic": Measure("PIC", False),
    "motion": Measure("% of the diagonal per frame", None),
    "consistency": Measure("cosine", None),  # a frozen video has the largest
    "alignment": Measure("100 x cosine", False),
    "motion_as_asked": Measure("share of videos", False),
    "end_conformity": Measure("1 - distance", False),
    "loop_closure": Measure("distance", True),  # none for a clip that stands still: see its step distance
    "step_distance": Measure("distance", None),
}


def directed(metric: str) -> bool:
    """Whether one end of a metric is better than the other."""
    return MEASURES[metric].lower_is_better is not None
