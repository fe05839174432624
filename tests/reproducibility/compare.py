"""Are two runs the same? To the byte where the platform is the same, else within a tolerance that is stated here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.environment import BITS

RELATIVE = {"fvd": 0.02, "kvd": 0.10}  # of the larger value
ABSOLUTE = 0.02  # of what lies between -1 and 1 (pic, consistency, alignment), and of motion, in pixels a frame
SHARE = 0.25  # of motion_as_asked: two of the smoke run's eight videos, each of which is seen as this or that
LOSS = 1e-3  # of a training loss, relative
Key = tuple[Any, ...]


def same_platform(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether nothing differs that may change the last bits."""
    return all(one.get(name) == other.get(name) for name in (*BITS, "threads"))


def what_differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """A line for each thing that may change the last bits and is another here."""
    return [
        f"{name}: {one.get(name)} when recorded, {other.get(name)} here"
        for name in (*BITS, "threads")
        if one.get(name) != other.get(name)
    ]


def lines(path: Path) -> list[dict[str, Any]]:
    """A file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def unequal_bytes(one: Path, other: Path) -> list[str]:
    """The first lines that differ between two files, as they stand."""
    left, right = (path.read_text(encoding="utf-8").splitlines() for path in (one, other))
    found = [
        f"{one.name}:{k}: {a}\n{other}:{k}: {b}" for k, (a, b) in enumerate(zip(left, right, strict=False), 1) if a != b
    ]
    return found[:3] + (
        [f"{one.name} has {len(left)} lines, {other} has {len(right)}"] if len(left) != len(right) else []
    )


def key(record: Mapping[str, Any]) -> Key:
    """Whose number a record is."""
    return tuple(record[name] for name in ("question", "variant", "dataset", "seed", "metric", "features", "protocol"))


def far_records(one: Path, other: Path) -> Iterator[str]:
    """Records that are not there twice, or whose values lie further apart than the tolerance."""
    left, right = ({key(record): record for record in lines(path)} for path in (one, other))
    for missing in left.keys() ^ right.keys():
        yield f"{missing} is in one of the two only"
    for name in left.keys() & right.keys():
        a, b = left[name]["value"], right[name]["value"]
        if (a is None) != (b is None) or (a is not None and not near(left[name]["metric"], a, b)):
            yield f"{name}: {a} and {b}"


def near(metric: str, a: float, b: float) -> bool:
    """Whether two values of a metric agree on another platform."""
    if metric in RELATIVE:
        return abs(a - b) <= RELATIVE[metric] * max(abs(a), abs(b), 1.0)
    return abs(a - b) <= (SHARE if metric == "motion_as_asked" else ABSOLUTE)


def far_curves(one: Path, other: Path) -> Iterator[str]:
    """Training losses further apart than the tolerance."""
    for a, b in zip(lines(one), lines(other), strict=True):
        name = (a["question"], a["variant"], a["seed"], a["stage"], a["step"])
        if name != (b["question"], b["variant"], b["seed"], b["stage"], b["step"]):
            yield f"{name} against {b['variant']} step {b['step']}"
        elif not math.isclose(a["loss"], b["loss"], rel_tol=LOSS):
            yield f"{name}: loss {a['loss']} and {b['loss']}"


def spread(one: Path, other: Path) -> dict[str, float]:
    """The largest difference of each metric: relative for those of RELATIVE, else absolute. To be read, not tested."""
    found: dict[str, float] = {}
    left, right = ({key(record): record for record in lines(path)} for path in (one, other))
    for name in left.keys() & right.keys():
        metric, a, b = left[name]["metric"], left[name]["value"], right[name]["value"]
        if a is not None and b is not None:
            apart = abs(a - b) / max(abs(a), abs(b), 1.0) if metric in RELATIVE else abs(a - b)
            found[metric] = max(found.get(metric, 0.0), apart)
    return found
