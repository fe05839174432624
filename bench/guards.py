"""Which numbers cannot be right? Looked at before they are believed: how a stage was trained, what generated videos
look like, whether two sets were measured the same way.

What makes a comparison meaningless is a reason ("not comparable: ..."); what a reader should only know is a note. A
loss that is not a number stops its step (`bench/train.py`); so do features that are not numbers, ids that come twice
and too few videos (`bench/metrics`). Training videos in an evaluation set stop the plan (`bench/sources.py`).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXPLODED = 100.0  # times the usual gradient norm of the stage: clipped, so training goes on, but something is wrong
ROSE = 10.0  # times the first losses: what was trained is worse than what it started from
FEWEST = 5  # lines of a curve from which "usual" can be told
NAMED = 3  # ids that a note names


@dataclass
class Words:
    """What was found: reasons take a record's comparability away, notes do not."""

    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether numbers may be compared, as far as was looked."""
        return not self.reasons

    @property
    def all(self) -> list[str]:
        """Reasons first, marked."""
        return [*(f"not comparable: {reason}" for reason in self.reasons), *self.notes]


def likeness(alike: Mapping[str, Sequence[Any]], count: int) -> Words:
    """From the alike.json of the step that looked at `count` generated videos (see `bench/steps/alike.py`).

    Baselines are not asked: a static repeat or a real clip is what it says.
    """
    found = Words()
    twins = [list(names) for names in alike.get("twins", ())]
    if count > 1 and any(len(names) == count for names in twins):
        found.reasons.append(f"all {count} videos are equal to the bit, whatever their input")
    elif twins:
        named = "; ".join(" = ".join(names[:NAMED]) for names in twins[:NAMED])
        found.notes.append(f"{len(twins)} groups of videos are equal to the bit: {named}")
    if copied := alike.get("copied"):
        words = "videos have frames after the first that are, to the bit, frames of a reference clip"
        found.reasons.append(f"{len(copied)} {words}: {_some(copied)}")
    if close := alike.get("close"):
        words = "videos follow their reference clip closely while it moves: real frames, or a reconstruction of them?"
        found.notes.append(f"{len(close)} {words}: {_some(close)}")
    if still := alike.get("still"):
        found.notes.append(f"{len(still)} videos do not move, every frame equals the first: {_some(still)}")
    return found


def training(curve: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is odd about one stage's curve: a gradient that exploded, a loss that rose. Empty when nothing is.

    curve: lines with `step`, `loss` and `grad_norm` (before clipping), in order.
    """
    if len(curve) < FEWEST:
        return []
    found = []
    usual = statistics.median(line["grad_norm"] for line in curve)
    worst = max(curve, key=lambda line: line["grad_norm"])
    if worst["grad_norm"] > EXPLODED * usual:
        norm = worst["grad_norm"]
        found.append(f"the gradient exploded: norm {norm:.3g} at step {worst['step']}, {usual:.3g} is usual (clipped)")
    first, last = (statistics.median(line["loss"] for line in part) for part in (curve[:FEWEST], curve[-FEWEST:]))
    if last > ROSE * first:
        found.append(f"the loss rose from {first:.3g} to {last:.3g}: what was trained is worse than its start")
    return found


def check_same_measurement(generated: Path, reference: Path, protocol: Mapping[str, Any]) -> None:
    """Two features artifacts were measured alike, and as the protocol says. Raises ValueError naming what differs.

    Their manifests say with what: another network, preprocessing or file of weights means that one of them was made
    for another protocol. Folders without a manifest (made by hand) are not asked.
    """
    ours, theirs = _measured(generated), _measured(reference)
    if ours is None or theirs is None:
        return
    for key in ours.keys() | theirs.keys():
        if ours.get(key) != theirs.get(key):
            raise ValueError(
                f"{reference}: the reference was measured with {key} {theirs.get(key)!r}, the generated videos with "
                f"{ours.get(key)!r}: one of them belongs to another protocol. Remove it (`store gc`) and run again"
            )
    wanted = protocol.get("values", {}).get("feature")
    if wanted is not None and ours["network"] != wanted:
        raise ValueError(f"{generated}: measured with {ours['network']!r}; protocol {protocol.get('name')}: {wanted!r}")


def _measured(folder: Path) -> dict[str, Any] | None:
    """What a features artifact was measured with: network, preprocessing, digest of the weights."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        video = dict(manifest["config"]["video"])
        video.pop("bytes", None)  # which bytes of the real clips a dialect reads: differs on purpose
        weights = {role: digest for role, digest in manifest["inputs"].items() if role in ("classifier", "i3d")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {**video, **{f"weights {role}": digest for role, digest in weights.items()}}


def _some(names: Sequence[Any]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more
